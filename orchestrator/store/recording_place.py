"""Where closed recordings lie: a local folder, or anything that fsspec reaches, each with the strongest writing it offers.

A local file is written under a temporary name, flushed, renamed, and its folder flushed. An object store has no rename and
needs none: an object appears whole, under the name of its content. Other file systems get a temporary name and a move.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from orchestrator.domain.errors import StoreError
from orchestrator.store.process import ProcessIdentity, this_process

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY = ".writing-"
# What these call a file is an object: it is there whole once it is put, and moving it would copy it.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "ocs", "oci", "memory"})
# A file as young as this may have been changed again without its time stamp telling.
_YOUNG_NS = 2_000_000_000


class Place(Protocol):
    """Where files lie, by name; a file once there is never changed."""

    def uri(self, name: str) -> str:
        """What the database keeps of a file."""
        ...

    def name(self, uri: str) -> str | None:
        """The name in a URI of this place; None if it points elsewhere."""
        ...

    def put(self, written: Path, name: str, sha256: str) -> None:
        """Make a finished temporary file appear under its name, durably and at once."""
        ...

    def verified(self, name: str, sha256: str) -> Path | pa.BufferReader | None:
        """What Parquet reads from, if the file is what was stored; None if it is another.

        Raises:
            FileNotFoundError: if it is missing.
        """
        ...

    def sweep(self) -> list[str]:
        """Remove the temporary files of processes that have ended."""
        ...


class LocalFolder:
    """A folder of this machine.

    Args:
        folder: where the files lie.
        prefix: what stands before a name in a URI; default the folder's own name, as seen from the lab folder.
    """

    def __init__(self, folder: Path, prefix: str | None = None) -> None:
        self.folder = folder
        self._prefix = folder.name if prefix is None else prefix
        self._verified: dict[str, tuple[str, int, int, int]] = {}

    def uri(self, name: str) -> str:
        """Relative to the lab folder, or whole for a folder elsewhere."""
        return f"{self._prefix}/{name}"

    def name(self, uri: str) -> str | None:
        """The name in a URI of this place; None if it points elsewhere."""
        prefix, _, name = uri.rpartition("/")
        return name if prefix == self._prefix and name not in ("", ".", "..") and "\\" not in name else None

    def put(self, written: Path, name: str, sha256: str) -> None:
        """Rename, and flush the folder; a file that is there and whole stays."""
        path = self.folder / name
        if not _is_kept(path, sha256):
            written.replace(path)
            flush_folder(self.folder)

    def verified(self, name: str, sha256: str) -> Path | None:
        """The file's path; its bytes are hashed once per process as long as they are not touched."""
        path = self.folder / name
        seen = path.stat()
        identity = (sha256, seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if self._verified.get(name) != identity:
            if sha256_of(path) != sha256:
                return None
            if time.time_ns() - seen.st_mtime_ns > _YOUNG_NS:
                self._verified[name] = identity
        return path

    def sweep(self) -> list[str]:
        """Remove the temporary files of processes that have ended."""
        return [str(path) for path in swept(self.folder)]


class RemoteFolder:
    """A folder of any file system that fsspec knows.

    Args:
        uri: such as `s3://bucket/recordings`; options come from fsspec's own configuration and the environment.

    Raises:
        StoreError: if fsspec does not know the protocol, or its package is not installed.
    """

    def __init__(self, uri: str) -> None:
        from importlib import import_module

        self._prefix = uri.rstrip("/")
        try:
            self._system, self._root = import_module("fsspec.core").url_to_fs(self._prefix)
        except (ValueError, ImportError) as error:
            raise StoreError(f"recordings cannot be kept in '{uri}': {error}. For S3: pip install 'voltloop[s3]'.") from None
        protocol = self._system.protocol
        self._atomic = bool(OBJECT_STORES & {protocol, *(protocol if not isinstance(protocol, str) else ())})

    def uri(self, name: str) -> str:
        """The whole URI."""
        return f"{self._prefix}/{name}"

    def name(self, uri: str) -> str | None:
        """The name in a URI of this place; None if it points elsewhere."""
        prefix, _, name = uri.rpartition("/")
        return name if prefix == self._prefix and name not in ("", ".", "..") else None

    def put(self, written: Path, name: str, sha256: str) -> None:
        """Upload the whole file; where it would be seen half-written, under a temporary name first."""
        target = f"{self._root}/{name}"
        with self._told(missing_is_told=True):
            if self._atomic:
                self._system.put_file(str(written), target)
            else:
                self._system.makedirs(self._root, exist_ok=True)
                temporary = f"{self._root}/{temporary_name()}"
                try:
                    self._system.put_file(str(written), temporary)
                    self._system.mv(temporary, target)
                except BaseException:
                    with suppress(Exception):
                        self._system.rm_file(temporary)
                    raise
            self._system.invalidate_cache()
            arrived = self._system.info(target)["size"]
        if arrived != written.stat().st_size:
            raise StoreError(
                f"'{self.uri(name)}' arrived with {arrived} bytes instead of {written.stat().st_size}. Run it again."
            )

    def verified(self, name: str, sha256: str) -> pa.BufferReader | None:
        """The file's content, fetched whole."""
        import pyarrow as pa

        with self._told():
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
        return pa.BufferReader(content) if hashlib.sha256(content).hexdigest() == sha256 else None

    def sweep(self) -> list[str]:
        """Remove what killed processes of this machine had begun to upload."""
        with self._told():
            names = self._listed()
            left = [name for name in names if name.startswith(TEMPORARY) and is_abandoned(name)]
            for name in left:
                self._system.rm_file(f"{self._root}/{name}")
        return [self.uri(name) for name in left]

    def _listed(self) -> list[str]:
        try:
            return [str(found).rpartition("/")[2] for found in self._system.ls(self._root, detail=False)]
        except FileNotFoundError:
            return []

    @contextmanager
    def _told(self, *, missing_is_told: bool = False) -> Iterator[None]:
        """Clients raise whatever their service's library does; all of it is one thing to the lab."""
        try:
            yield
        except Exception as error:
            if isinstance(error, StoreError) or (isinstance(error, FileNotFoundError) and not missing_is_told):
                raise
            raise StoreError(
                f"'{self._prefix}' cannot be read or written: {str(error) or type(error).__name__}. Nothing was half-written; "
                "see that it can be reached and run the same command again."
            ) from error


def place_of(place: str | Path) -> LocalFolder | RemoteFolder:
    """The place that a folder's path or a URI names.

    Raises:
        StoreError: if no file system is known for it.
    """
    text = str(place)
    protocol, separator, rest = text.partition("://")
    if not separator or isinstance(place, Path):
        return LocalFolder(Path(place).absolute())
    if protocol in ("file", "local"):
        return LocalFolder(Path(rest).absolute(), text.rstrip("/"))
    return RemoteFolder(text)


@contextmanager
def writing(folder: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new temporary file in a folder, which is made if need be; gone afterwards unless it was renamed."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        flush_folder(folder.parent)
    temporary = folder / temporary_name()
    try:
        with temporary.open("x+b") as stream:
            yield stream, temporary
    finally:
        temporary.unlink(missing_ok=True)


class Hashed:
    """A stream for writing that knows the hash of what went through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._sha256 = stream, hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        """Pass bytes on."""
        self._sha256.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        """Pass on."""
        self._stream.flush()

    def hexdigest(self) -> str:
        """The hash of all that was written."""
        return self._sha256.hexdigest()


def staging_folder() -> Path:
    """Where a lab without a folder for recordings writes them before they are uploaded."""
    return Path(tempfile.gettempdir()) / f"voltloop-{os.getuid() if hasattr(os, 'getuid') else 'staging'}"


def safe_name(key: str) -> str:
    """A key as the beginning of a file name; what makes the name unique follows."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", key)[:80].strip("_-") or "recording"


def temporary_name() -> str:
    """A new name that tells who writes there."""
    return f"{TEMPORARY}{this_process().to_text()}-{secrets.token_hex(4)}"


def is_abandoned(name: str) -> bool:
    """Whether nobody writes any more to what has such a temporary name."""
    tag = name.removeprefix(TEMPORARY).rpartition("-")[0]
    try:
        return ProcessIdentity.from_text(tag).certainly_dead()
    except ValueError:
        return False


def swept(folder: Path) -> list[Path]:
    """Remove from a folder the temporary files of processes that have ended; returns what was removed."""
    if not folder.is_dir():
        return []
    left = [path for path in folder.glob(f"{TEMPORARY}*") if is_abandoned(path.name)]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_kept(path: Path, sha256: str) -> bool:
    """Whether a killed process has left this very file; touched first, so that no repair takes it for an orphan meanwhile."""
    try:
        os.utime(path)
        return sha256_of(path) == sha256
    except (FileNotFoundError, PermissionError):
        return False


def flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open folders and needs no such thing."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
