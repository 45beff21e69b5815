"""Closed recordings."""

import errno
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingArchive, RecordingFile

METADATA = {"trial": 1, "synthetic": True, "nominal_capacity_Ah": 1.1}


@pytest.fixture
def archive(tmp_path: Path) -> RecordingArchive:
    return RecordingArchive(tmp_path / "lab" / "recordings")


@pytest.fixture
def columns() -> dict[str, np.ndarray]:
    """1000 rows with every kind of float there is."""
    random = np.random.default_rng(7)
    odd = np.frombuffer(random.bytes(8 * 994), dtype=np.float64)
    return {
        "test_time_second": np.arange(1000.0) / 3,
        "voltage_volt": np.concatenate([[0.0, -0.0, np.inf, -np.inf, 5e-324, 1e308], odd]),
        "current_ampere": random.normal(size=1000).astype(np.float32),
        "cycle_count": np.repeat(np.arange(10), 100),
        "step_count": np.arange(1000, dtype=np.int32),
    }


def test_a_recording_comes_back_bit_by_bit(archive: RecordingArchive, columns: dict[str, np.ndarray]) -> None:
    """Every column comes back with its order, type and every bit, also NaN and signed zeros."""
    file = archive.write("fast/1/1", columns, METADATA)
    found = archive.read(file)
    assert list(found) == list(columns)
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        assert found[name].tobytes() == column.tobytes()
    assert file.rows == 1000


def test_a_file_tells_what_it_is(archive: RecordingArchive, columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The file lies where its URI says from the lab folder, and holds key, units, schema version and metadata."""
    file = archive.write("fast/1/1", columns, METADATA)
    path = tmp_path / "lab" / file.uri
    assert path.is_file()
    said = archive.metadata(file)
    assert said["key"] == "fast/1/1"
    assert said["schema_version"] == file.schema_version == 2
    assert said["units"] == {"test_time_second": "s", "voltage_volt": "V", "current_ampere": "A"}
    assert said["metadata"] == METADATA
    assert said["columns"]["voltage_volt"] == {"dtype": "float64"}
    assert "null is nan" in said["read_so"].lower()
    written = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert written.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in written.encodings


def test_writing_again_is_harmless(archive: RecordingArchive, columns: dict[str, np.ndarray]) -> None:
    """The same content under the same key is one file; other content under the key is another, and both stay readable."""
    first = archive.write("fast/1/1", columns, METADATA)
    assert archive.write("fast/1/1", columns, METADATA) == first
    shorter = {name: column[:10] for name, column in columns.items()}
    second = archive.write("fast/1/1", shorter, METADATA)
    assert len(list(archive.folder.iterdir())) == 2
    assert len(archive.read(first)["cycle_count"]) == 1000
    assert len(archive.read(second)["cycle_count"]) == 10


def test_a_damaged_file_is_written_anew(archive: RecordingArchive, columns: dict[str, np.ndarray]) -> None:
    """Writing a recording whose file was damaged in the meantime restores it."""
    file = archive.write("fast/1/1", columns, METADATA)
    archive.path(file).write_bytes(b"torn")
    assert archive.write("fast/1/1", columns, METADATA) == file
    assert len(archive.read(file)["cycle_count"]) == 1000


def test_an_empty_recording_is_a_recording(archive: RecordingArchive) -> None:
    """A run without a single row can be stored and read."""
    assert archive.read(archive.write("fast/1/1", {}, {})) == {}
    none = archive.read(archive.write("fast/1/1", {"voltage_volt": np.zeros(0)}, {}))
    assert none["voltage_volt"].shape == (0,)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_recording_is_noticed(archive: RecordingArchive, columns: dict[str, np.ndarray], damage: str) -> None:
    """A changed bit, a lost end or a missing file is told with the file's name, never read as data."""
    file = archive.write("fast/1/1", columns, METADATA)
    path = archive.path(file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(StoreError, match=f"{path.name}.*backup"):
        archive.read(file)


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", "x" * 5000, "é\0\n/*?", ".writing-x", "con", "C:\\x"]
)
def test_no_key_leads_out_of_the_folder(archive: RecordingArchive, key: str, tmp_path: Path) -> None:
    """Whatever a key holds, its file lies in the recordings folder under a plain name."""
    file = archive.write(key, {"voltage_volt": np.ones(3)}, {})
    path = archive.path(file)
    assert path.parent == archive.folder
    assert path.name.isascii()
    assert not path.name.startswith(".")
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
    assert archive.metadata(file)["key"] == key


@pytest.mark.parametrize(
    "uri", ["../secret.parquet", "recordings/../../x.parquet", "/etc/passwd", "recordings/x.txt", "recordings"]
)
def test_no_uri_leads_out_of_the_folder(archive: RecordingArchive, uri: str) -> None:
    """A URI that points elsewhere, as only a changed database could hold, is refused unread."""
    with pytest.raises(StoreError, match="does not lie in"):
        archive.read(RecordingFile(uri, "0" * 64, 1, 1))


def test_a_newer_format_is_refused(archive: RecordingArchive, columns: dict[str, np.ndarray]) -> None:
    """A recording of a later format is not guessed at."""
    file = archive.write("fast/1/1", columns, METADATA)
    with pytest.raises(StoreError, match="format 3; this voltloop reads up to 2"):
        archive.read(replace(file, schema_version=3))


def test_files_of_the_first_format_stay_readable(archive: RecordingArchive, columns: dict[str, np.ndarray]) -> None:
    """A recording that an earlier voltloop wrote as plain columns is read as it is."""
    said = {"schema_version": 1, "key": "old/1/1", "units": {}, "metadata": METADATA}
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    archive.folder.mkdir(parents=True)
    path = archive.folder / "old_1_1-0123456789abcdef.parquet"
    pq.write_table(table.replace_schema_metadata({b"voltloop": json.dumps(said)}), path, compression="zstd")
    file = RecordingFile(f"recordings/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest(), 1000, 1)
    found = archive.read(file)
    assert all(found[name].tobytes() == column.tobytes() for name, column in columns.items())
    assert archive.metadata(file) == said
    assert list(archive.read(file, ["cycle_count"], cycles=(3, 4))["cycle_count"]) == [3] * 100 + [4] * 100


def test_ragged_columns_are_refused(archive: RecordingArchive) -> None:
    """Columns of unequal length are no recording."""
    with pytest.raises(StoreError, match="differ in length"):
        archive.write("fast/1/1", {"voltage_volt": np.ones(3), "current_ampere": np.ones(2)}, {})


def test_a_full_disk_leaves_nothing_behind(archive: RecordingArchive, columns, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full the message names the file, and neither half a file nor a temporary one is left."""

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    archive.folder.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"fast_1_1.*No space left on device"):
        archive.write("fast/1/1", columns, METADATA)
    assert list(archive.folder.iterdir()) == []


def test_what_a_killed_writer_leaves_is_swept(archive: RecordingArchive, columns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed in mid-write leaves no recording, only a temporary file; the sweeper removes it, and nothing else."""
    kept = archive.write("fast/1/1", columns, METADATA)
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(os, "fsync", lambda _handle: os.kill(os.getpid(), signal.SIGKILL))
        archive.write("fast/2/1", columns, METADATA)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    left = [path for path in archive.folder.iterdir() if path != archive.path(kept)]
    assert len(left) == 1
    assert archive.sweep() == left
    assert list(archive.folder.iterdir()) == [archive.path(kept)]


def test_a_living_writer_is_not_swept(archive: RecordingArchive, columns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeping in mid-write takes nothing away from a process that lives, nor files that are not ours."""
    archive.folder.mkdir(parents=True)
    (archive.folder / ".writing-by-hand").touch()
    swept = []
    monkeypatch.setattr(os, "fsync", lambda _handle: swept.extend(archive.sweep()))
    file = archive.write("fast/1/1", columns, METADATA)
    assert swept == []
    assert len(archive.read(file)["cycle_count"]) == 1000


def test_sweeping_before_there_is_a_folder(archive: RecordingArchive) -> None:
    """A lab without recordings has nothing to sweep."""
    assert archive.sweep() == []
