"""What every test may use: a quiet environment, seeded property tests, and the folder of public data."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec_file import data_folder
from tests.postgres_cluster import Cluster, server_binaries

settings.register_profile("voltloop", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voltloop")


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public datasets; without it a test is skipped, in CI with the folder there it may not be."""
    try:
        return data_folder()
    except SpecError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of our own for the whole session."""
    made = Cluster(server_binaries())
    try:
        made.start()
        yield made
    finally:
        made.stop()
