"""Raw cycler files taken in: read in one vocabulary, checked, and written as Battery Data Format Parquet, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.formats import CyclerFile, open_cycler_file, write_bdf_parquet
from flows.ingest_repairs import Repair, known_repairs, repaired, repairs_to_do
from orchestrator.domain.errors import Fault, FormatError, SpecError, StoreError, VoltloopError
from orchestrator.features.quality import QualityCheck, QualityReport

INGESTED_FOLDER = "ingested"
Flags = NDArray[np.int16]


@dataclass(frozen=True)
class Ingested:
    """One file taken in.

    Attributes:
        source: the file read.
        output: the Parquet file.
        format: one of `adapters.formats.FORMATS`.
        rows: rows read; `rows_written` differs only where a repair left some out.
        report: what the quality checks found.
        repairs: what was asked for, and done.
        unchanged: whether the output was there already with the same content.
    """

    source: Path
    output: Path
    format: str
    rows: int
    rows_written: int
    report: QualityReport
    mapping: tuple[dict[str, Any], ...]
    unmapped: tuple[str, ...]
    notes: tuple[str, ...]
    repairs: tuple[Repair, ...]
    source_sha256: str
    sha256: str
    unchanged: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "file": str(self.source),
            "output": str(self.output),
            "format": self.format,
            "rows": self.rows,
            "rows_written": self.rows_written,
            **{name: given for name, given in self.report.to_json().items() if name != "rows"},
            "mapping": list(self.mapping),
            "unmapped": list(self.unmapped),
            "notes": list(self.notes),
            "repairs": [repair.to_json() for repair in self.repairs],
            "source_sha256": self.source_sha256,
            "sha256": self.sha256,
            "unchanged": self.unchanged,
        }


@dataclass(frozen=True)
class NotIngested:
    """One file that could not be taken in, and why; nothing was written for it."""

    source: Path
    error: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"file": str(self.source), "error": self.error}


@dataclass(frozen=True)
class Wishes:
    """What a person says of files that cannot say it themselves.

    Attributes:
        nominal_capacity_Ah: of the cell; None where it is not known.
        columns: by header, a Battery Data Format name, as `open_cycler_file` has it.
        time_zone: of dates that name none.
        repairs: names of `flows.ingest_repairs.REPAIRS`.
        force: replace an output that has other content.
    """

    nominal_capacity_Ah: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    repairs: tuple[str, ...] = ()
    force: bool = False


def ingest_files(files: Sequence[Path], to: Path, wishes: Wishes | None = None) -> Iterator[Ingested | NotIngested]:
    """Take files in, one after the other; one that cannot be read does not stop the others.

    Args:
        files: what cyclers or their software wrote.
        to: the folder for one `<stem>.parquet` each; it is made.
        wishes: what the files cannot say.

    Yields:
        For each file, in order, what became of it.

    Raises:
        SpecError: before anything is written, if two files would have one output, or one is its own.
        StoreError: if the folder cannot be made.
    """
    wishes = wishes or Wishes()
    QualityCheck(wishes.nominal_capacity_Ah)
    known_repairs(wishes.repairs)
    outputs = planned_outputs(files, to)
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder '{to}' cannot be made: {error.strerror}. Choose another with --to.") from None
    return (_attempted(source, output, wishes) for source, output in outputs)


def planned_outputs(files: Sequence[Path], to: Path) -> list[tuple[Path, Path]]:
    """Which file becomes which.

    Raises:
        SpecError: with every two that would have one output, and every one that is its own.
    """
    planned = [(Path(file), to / f"{Path(file).stem}.parquet") for file in files]
    faults = []
    taken: dict[str, Path] = {}
    for source, output in planned:
        folded = output.name.casefold()
        if folded in taken:
            faults.append(
                Fault(
                    str(source),
                    f"would be written to '{output}', as would '{taken[folded]}'.",
                    "Ingest one of them into another --to.",
                )
            )
        taken.setdefault(folded, source)
        if source.resolve() == output.resolve():
            faults.append(Fault(str(source), "would be replaced by what is made of it.", "Name another folder with --to."))
    if faults:
        raise SpecError(faults)
    return planned


def _attempted(source: Path, output: Path, wishes: Wishes) -> Ingested | NotIngested:
    try:
        return ingest_file(source, output, wishes)
    except VoltloopError as error:
        said = str(error)
        return NotIngested(source, said if source.name in said else f"'{source}': {said}")
    except OSError as error:
        return NotIngested(source, f"'{source}': cannot be read: {error.strerror or error}. Check the path and its permissions.")


def ingest_file(source: Path, output: Path, wishes: Wishes) -> Ingested:
    """Take one file in: read it twice, once to check it and once to write it, with bounded memory.

    Raises:
        FormatError: if it cannot be read as what it is.
        SpecError: if `wishes` do not fit it.
        StoreError: if the output cannot be written, or is there with other content; nothing was changed then.
    """
    if source.exists() and not source.is_file() and not source.is_dir():
        raise FormatError(f"'{source}': is no regular file. Name a file that a cycler wrote.")
    file = open_cycler_file(source, columns=dict(wishes.columns) or None, time_zone=wishes.time_zone)
    sha256 = sha256_of(source)
    flags, report = _checked(file, wishes.nominal_capacity_Ah)
    todo = repairs_to_do(known_repairs(wishes.repairs), report)
    repairs = _foreseen(file, flags, wishes.repairs, todo)
    temporary = output.with_name(f".{output.name}.{os.getpid()}-{secrets.token_hex(4)}.ingesting")
    try:
        written = write_bdf_parquet(
            temporary,
            (batch for batch in repaired(_flagged(file, flags), todo, {}) if len(batch["quality_flags"])),
            _metadata(file, sha256, report, repairs, wishes),
        )
        unchanged = _put(temporary, output, wishes.force)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    mapping = tuple(asdict(mapped) for mapped in file.mapping)
    return Ingested(
        source, output, file.format, report.rows, written, report, mapping, file.unmapped, file.notes, repairs, sha256,
        sha256_of(output), unchanged,
    )  # fmt: skip


def _checked(file: CyclerFile, nominal_capacity_Ah: float | None) -> tuple[list[Flags], QualityReport]:
    """Flags two bytes a row, and the report."""
    check = QualityCheck(nominal_capacity_Ah)
    flags = [check.add(batch).astype(np.int16) for batch in file.batches()]
    flags.append(check.finish().astype(np.int16))
    report = check.report()
    return [part | np.int16(report.every_row) for part in flags], report


def _flagged(file: CyclerFile, flags: list[Flags]) -> Iterator[dict[str, NDArray[Any]]]:
    whole = np.concatenate(flags)
    done = 0
    for batch in file.batches():
        length = len(batch["test_time_second"])
        own = whole[done : done + length].astype(np.int64)
        if len(own) != length:
            raise _changed(file)
        if "quality_flags" in batch:
            own = own | batch["quality_flags"]
        yield {**batch, "quality_flags": own}
        done += length
    if done != len(whole):
        raise _changed(file)


def _changed(file: CyclerFile) -> FormatError:
    return FormatError(f"'{file.path}': changed while it was read. Ingest it once nothing writes to it any more.")


def _foreseen(file: CyclerFile, flags: list[Flags], asked: Iterable[str], todo: tuple[str, ...]) -> tuple[Repair, ...]:
    """What each repair that was asked for will do: the metadata say so, and they stand before the rows."""
    done: dict[str, int] = {}
    if todo:
        for _ in repaired(_flagged(file, flags), todo, done):
            pass
    return tuple(Repair(name, done.get(name, 0)) for name in known_repairs(asked))


def _metadata(
    file: CyclerFile, sha256: str, report: QualityReport, repairs: tuple[Repair, ...], wishes: Wishes
) -> dict[str, Any]:
    return {
        "source": {"name": file.path.name, "sha256": sha256, "bytes": file.path.stat().st_size},
        "format": file.format,
        "mapping": [asdict(mapped) for mapped in file.mapping],
        "unmapped": list(file.unmapped),
        "notes": list(file.notes),
        "nominal_capacity_Ah": wishes.nominal_capacity_Ah,
        "quality": report.to_json(),
        "repairs": [repair.to_json() for repair in repairs],
        "file": file.metadata,
        "voltloop_version": version("voltloop"),
    }


def _put(temporary: Path, output: Path, force: bool) -> bool:
    """Give a finished file its name; returns whether the same was there already.

    Raises:
        StoreError: if something else is there.
    """
    if output.exists() and not force:
        if output.is_file() and sha256_of(output) == sha256_of(temporary):
            return True
        raise StoreError(f"'{output}' is there already, with other content. Move it away, or replace it with --force.")
    try:
        temporary.replace(output)
    except OSError as error:
        raise StoreError(f"'{output}' cannot be written: {error.strerror or error}. Nothing was changed.") from None
    return False


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
