"""A throwaway PostgreSQL server, started from the installed binaries on a free port."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from orchestrator.store import TrialStore
from orchestrator.store.tables import Row

SERVERS = Path("/usr/lib/postgresql")


class Cluster:
    """A PostgreSQL server of our own, on a free port, in a temporary folder."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="voltloop-postgres-"))
        self._binaries, self._numbers = binaries, itertools.count(1)
        self._lab: str | None = None
        # The server refuses to run as root.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        data = str(self.folder / "data")
        self._call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        settings = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c full_page_writes=off"
        )
        self._call("pg_ctl", "-D", data, "-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def cut_power(self) -> None:
        """End the server without a goodbye; its data stay."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def power_up(self) -> None:
        """Start the server again, as it was started first."""
        options = (self.folder / "data" / "postmaster.opts").read_text().split(" ", 1)[1]
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def url(self, database: str) -> str:
        """A database of this server, as a user would write it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a new database without tables."""
        name = f"lab_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def empty_lab(self) -> str:
        """The URL of a lab in which nothing has happened; always the same one, emptied: making a database takes long."""
        if self._lab is None:
            self._lab = self.new_database()
            TrialStore.open(self._lab).close()
        with psycopg.connect(self._lab) as connection:
            # As a replica, so that append-only tables let go of their rows.
            connection.execute("SET session_replication_role = replica")
            connection.execute("; ".join(f"DELETE FROM {table}" for table in Row.metadata.tables))
            connection.execute("SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences")
        return self._lab

    def _call(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._binaries / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f"{' '.join(command)} failed"


def server_binaries() -> Path:
    found = sorted(SERVERS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        said = f"no PostgreSQL server binaries under {SERVERS}: install the package 'postgresql' to run these tests"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return found[-1].parent
