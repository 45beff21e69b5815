"""Closed recordings in any place that fsspec reaches."""

import errno
import os
import uuid
from pathlib import Path

import fsspec
import fsspec.implementations.local
import numpy as np
import pytest

from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingArchive, RecordingFile
from orchestrator.store.checking_files import recording_findings
from orchestrator.store.recording_place import RemoteFolder, place_of, temporary_name

COLUMNS = {"voltage_volt": np.linspace(3, 4, 500), "cycle_count": np.arange(500) // 10}


class FolderSystem(fsspec.implementations.local.LocalFileSystem):
    """A file system without rename guarantees of an object store: uploads show while they grow."""

    protocol = "slowdisk"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("slowdisk://"))


fsspec.register_implementation("slowdisk", FolderSystem, clobber=True)


@pytest.fixture(params=["memory", "slowdisk", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path / 'far' / uuid.uuid4().hex}"


@pytest.fixture
def archive(uri: str, tmp_path: Path) -> RecordingArchive:
    return RecordingArchive(uri, local=tmp_path / "lab" / "recordings")


def names(uri: str) -> list[str]:
    system, root = fsspec.core.url_to_fs(uri)
    return sorted(str(path).rpartition("/")[2] for path in system.ls(root, detail=False)) if system.exists(root) else []


def test_a_recording_lies_where_the_uri_says(archive: RecordingArchive, uri: str, tmp_path: Path) -> None:
    """It is written there, named by its content, whole in the database's URI, read and found again."""
    file = archive.write("fast/1/1", COLUMNS, {"a": 1})
    assert file.uri.startswith(f"{uri}/fast_1_1-")
    assert names(uri) == [file.uri.rpartition("/")[2]]
    assert all(archive.read(file)[name].tobytes() == column.tobytes() for name, column in COLUMNS.items())
    assert archive.metadata(file)["key"] == "fast/1/1"
    assert archive.write("fast/1/1", COLUMNS, {"a": 1}) == file
    assert list(archive.folder.glob(".*")) == list((tmp_path / "lab").rglob("*.parquet")) == []


def test_another_process_reads_it(archive: RecordingArchive, uri: str, tmp_path: Path) -> None:
    """A lab opened anew with the same place finds its recordings, without a local folder as well."""
    file = archive.write("fast/1/1", COLUMNS, {})
    assert len(RecordingArchive(uri).read(file)["voltage_volt"]) == 500


def test_earlier_recordings_stay_readable(archive: RecordingArchive, tmp_path: Path) -> None:
    """A lab that moves to another place still reads what lies in its folder."""
    before = RecordingArchive(tmp_path / "lab" / "recordings").write("fast/1/1", COLUMNS, {})
    assert before.uri.startswith("recordings/")
    assert len(archive.read(before)["voltage_volt"]) == 500
    assert archive.path(before).is_file()


def test_a_place_not_given_is_told(archive: RecordingArchive, tmp_path: Path) -> None:
    """A lab opened without the place of its recordings says that, and follows no URI of its own accord."""
    file = archive.write("fast/1/1", COLUMNS, {})
    with pytest.raises(StoreError, match="opened without the place of its recordings"):
        RecordingArchive(tmp_path / "lab" / "recordings").read(file)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_noticed(archive: RecordingArchive, uri: str, damage: str) -> None:
    """A changed or missing object is told with its name, by reading and by a check."""
    file = archive.write("fast/1/1", COLUMNS, {})
    assert list(recording_findings(archive, [("trial 1", file)])) == []
    system, root = fsspec.core.url_to_fs(file.uri)
    content = bytearray(system.cat_file(root))
    content[len(content) // 2] ^= 1
    system.rm_file(root)
    if damage != "remove":
        system.pipe_file(root, bytes(content if damage == "flip" else content[:-1]))
    with pytest.raises(StoreError, match=r"fast_1_1.*backup"):
        archive.read(file)
    (finding,) = recording_findings(archive, [("trial 1", file)])
    assert finding.kind == ("recording_missing" if damage == "remove" else "recording_changed")


def test_an_upload_that_breaks_off_leaves_nothing_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the place breaks in mid-upload the message names it, and neither half a recording nor a temporary file is left."""
    uri = f"slowdisk://{tmp_path / 'far'}"
    archive = RecordingArchive(uri, local=tmp_path / "lab" / "recordings")

    def torn(_self: object, path: str, target: str, **_: object) -> None:
        Path(target).write_bytes(Path(path).read_bytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FolderSystem, "put_file", torn)
    with pytest.raises(StoreError, match=r"slowdisk.*No space left.*run the same command again"):
        archive.write("fast/1/1", COLUMNS, {})
    assert names(uri) == []
    assert list(archive.folder.iterdir()) == []


def test_an_upload_that_arrives_short_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is smaller than what was sent is no recording."""
    archive = RecordingArchive(f"memory://{tmp_path}", local=tmp_path / "lab" / "recordings")
    system = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(system, "put_file", lambda self, path, target, **_: self.pipe_file(target, b"PAR1"))
    with pytest.raises(StoreError, match="arrived with 4 bytes"):
        archive.write("fast/1/1", COLUMNS, {})


def test_what_dead_uploaders_left_is_swept(tmp_path: Path) -> None:
    """A temporary file of a process that has ended is removed there, one of a living process is not."""
    uri = f"slowdisk://{tmp_path / 'far'}"
    archive = RecordingArchive(uri, local=tmp_path / "lab" / "recordings")
    file = archive.write("fast/1/1", COLUMNS, {})
    living = temporary_name()
    parts = living.rsplit("-", 3)
    dead = "-".join([parts[0], "999999999", *parts[2:]])
    for name in (living, dead):
        (tmp_path / "far" / name).touch()
    assert [path.name for path in archive.sweep()] == [dead]
    assert names(uri) == sorted([living, file.uri.rpartition("/")[2]])


def test_an_unknown_protocol_is_told() -> None:
    """A place that nothing reaches is refused when the lab is opened, with what to install."""
    with pytest.raises(StoreError, match=r"nonsense://bucket.*voltloop\[s3\]"):
        place_of("nonsense://bucket")


def test_object_stores_are_told_from_folders() -> None:
    """Objects are put under their final name, never moved; other systems get a temporary name first."""
    assert isinstance(place_of("memory://bucket"), RemoteFolder)
    assert place_of("memory://bucket")._atomic
    assert not place_of("slowdisk:///tmp/x")._atomic


@pytest.mark.parametrize(
    "elsewhere", ["s3://other/x.parquet", "recordings/../x.parquet", "../recordings/x.parquet", "/etc/passwd"]
)
def test_no_uri_of_the_database_leads_elsewhere(archive: RecordingArchive, elsewhere: str) -> None:
    """Only files of the lab's own places are ever opened."""
    with pytest.raises(StoreError, match="does not lie in"):
        archive.read(RecordingFile(elsewhere, "0" * 64, 1, 2))
