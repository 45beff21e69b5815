"""Where a file of a public dataset is found: in the data folder, or downloaded; always with the content that is known."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Fault, FormatError, SpecError
from orchestrator.domain.spec_file import DATA_VARIABLE, data_folder
from orchestrator.store.recordings import sha256_of


@dataclass(frozen=True)
class PublicSource:
    """A public file that a file of ours is made from, byte for byte.

    Attributes:
        url: of that file at one commit, so that its content never changes.
        sha256: of what lies there.
        made: turns its bytes into those of our file.
    """

    url: str
    sha256: str
    made: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset.

    Attributes:
        name: its path below the data folder.
        sha256: of its content; a file with another is refused.
        source: where it can be had without a data folder; None: no public file gives exactly this one.
    """

    name: str
    sha256: str
    source: PublicSource | None = None


def found(file: DataFile, origin: str, cache: Path | None = None) -> Path:
    """The file's path, its content checked; downloaded if it is not in the data folder and is public.

    Args:
        file: which one.
        origin: where it comes from, for whoever has to fetch it by hand.
        cache: where downloads are kept; None: the user's cache folder.

    Raises:
        SpecError: if it is in no folder and cannot be downloaded.
        FormatError: if what is there, or what came, has another content.
    """
    folder = _folder()
    path = folder / file.name if folder else None
    if path and path.is_file():
        return _checked(path, file.sha256, "Put back the file as it was, or point the variable elsewhere.")
    if file.source is None:
        raise SpecError(_missing(file, origin, folder))
    return _downloaded(file, file.source, cache or _cache())


def _folder() -> Path | None:
    """The data folder, or None where none is named and none lies beside the checkout; a wrong name is an error."""
    try:
        return data_folder()
    except SpecError:
        if os.environ.get(DATA_VARIABLE):
            raise
        return None


def _missing(file: DataFile, origin: str, folder: Path | None) -> Fault:
    where = f"is not in '{folder}'" if folder else "is nowhere on this machine"
    return Fault(
        file.name,
        f"{where}, and no public file gives exactly this one: it was derived from {origin}.",
        f"Set {DATA_VARIABLE} to the folder that holds it.",
    )


def _checked(path: Path, sha256: str, remedy: str) -> Path:
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}. See to it that you may read it.") from error
    if actual != sha256:
        raise FormatError(
            f"'{path}' is not the file that is known under this name: its sha256 is {actual}, expected was {sha256}. "
            f"{remedy} ({DATA_VARIABLE} names the folder of public datasets.)"
        )
    return path


def _pooch() -> Any:
    """Loaded only where something must be downloaded; it has no type information."""
    return import_module("pooch")


def _cache() -> Path:
    return Path(_pooch().os_cache("voltloop"))


def _downloaded(file: DataFile, source: PublicSource, cache: Path) -> Path:
    """Fetched once; what is kept is our file, and the public one it was made from."""
    path = cache / file.name
    if not path.is_file() or sha256_of(path) != file.sha256:
        content = source.made(_fetched(file, source, cache).read_bytes())
        try:
            _keep(content, path)
        except OSError as error:
            remedy = f"Name another folder (cache=...), or set {DATA_VARIABLE} to the folder that holds it."
            raise SpecError(Fault(file.name, f"cannot be kept in '{cache}': {error.strerror}.", remedy)) from error
    return _checked(path, file.sha256, "Delete it and try again.")


def _keep(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fetched(file: DataFile, source: PublicSource, cache: Path) -> Path:
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(source.url, f"sha256:{source.sha256}", fname=f"{source.sha256[:16]}.public", path=cache))
    except ValueError as error:
        raise FormatError(
            f"what '{source.url}' gave is not what is known to lie there, and was thrown away: {error} "
            f"Put '{file.name}' into the folder that {DATA_VARIABLE} names."
        ) from error
    except OSError as error:
        remedy = f"Try again with a connection, or set {DATA_VARIABLE} to the folder that holds it."
        raise SpecError(
            Fault(file.name, f"could not be downloaded from '{source.url}' into '{cache}': {error}.", remedy)
        ) from error
