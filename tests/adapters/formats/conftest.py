"""Where the real files lie, and how a file is read to its end."""

from pathlib import Path

import numpy as np
import pytest

from adapters.formats import CyclerFile, open_cycler_file


@pytest.fixture(scope="session")
def raw(public_data) -> Path:
    return public_data / "raw"


def whole(file: CyclerFile, rows: int = 262_144) -> dict[str, np.ndarray]:
    """All rows at once; every batch must have the same columns and kinds."""
    batches = list(file.batches(rows))
    kinds = {tuple((name, column.dtype.str) for name, column in batch.items()) for batch in batches}
    assert len(kinds) == 1
    assert tuple(batches[0]) == file.columns
    return {name: np.concatenate([batch[name] for batch in batches]) for name in file.columns}


@pytest.fixture
def read():
    """Open a file and read it to its end."""

    def opened(path, rows: int = 262_144, **stated) -> dict[str, np.ndarray]:
        return whole(open_cycler_file(path, **stated), rows)

    return opened


@pytest.fixture
def written(tmp_path):
    """A text file with some content."""

    def write(text: str, name: str = "test.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write
