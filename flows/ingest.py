"""Raw cycler files taken in: read in one vocabulary, checked, and written as Battery Data Format Parquet, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapters.formats import CyclerFile, open_cycler_file, write_bdf_parquet
from flows.ingest_repairs import Repair, checked, known_repairs, mended
from flows.unfinished import sweep_unfinished, unfinished
from orchestrator.domain.errors import Fault, FormatError, SpecError, StoreError, VoltloopError
from orchestrator.features.quality import QualityCheck, QualityReport

INGESTED_FOLDER = "ingested"
_WHOLE = "whole.parquet"


@dataclass(frozen=True)
class Ingested:
    """One file taken in.

    Attributes:
        source: the file read.
        output: the Parquet file.
        format: one of `adapters.formats.FORMATS`.
        rows: rows read; `rows_written` differs only where a repair left some out.
        report: what the quality checks found in the file as it is.
        after_repair: what they find in the rows written; None where nothing was repaired.
        repairs: what was asked for, and done.
        unchanged: whether the output was there already with the same content.
    """

    source: Path
    output: Path
    format: str
    rows: int
    rows_written: int
    report: QualityReport
    after_repair: QualityReport | None
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
            "after_repair": self.after_repair.to_json() if self.after_repair else None,
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
        sweep_unfinished(to)
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
    """Take one file in: read it to check it, again to write it, and once more for each repair, with bounded memory.

    Raises:
        FormatError: if it cannot be read as what it is.
        SpecError: if `wishes` do not fit it.
        StoreError: if the output cannot be written, or is there with other content; nothing was changed then.
    """
    if source.exists() and not source.is_file() and not source.is_dir():
        raise FormatError(f"'{source}': is no regular file. Name a file that a cycler wrote.")
    file = open_cycler_file(source, columns=dict(wishes.columns) or None, time_zone=wishes.time_zone)
    sha256 = sha256_of(source)
    try:
        found = checked(file.batches, wishes.nominal_capacity_Ah)
        after, repairs = mended(found, wishes.repairs, wishes.nominal_capacity_Ah)
        after_repair = after.report if after is not found else None
        metadata = _metadata(file, sha256, found.report, after_repair, repairs, wishes)
        with unfinished(output.parent) as folder:
            written = write_bdf_parquet(folder / _WHOLE, after.to_write(), metadata)
            unchanged = _put(folder / _WHOLE, output, wishes.force)
    except FormatError as error:
        raise FormatError(str(error) if source.name in str(error) else f"'{source}': {error}") from None
    mapping = tuple(asdict(mapped) for mapped in file.mapping)
    return Ingested(
        source, output, file.format, found.report.rows, written, found.report, after_repair, mapping, file.unmapped, file.notes,
        repairs, sha256, sha256_of(output), unchanged,
    )  # fmt: skip


def _metadata(
    file: CyclerFile,
    sha256: str,
    report: QualityReport,
    after_repair: QualityReport | None,
    repairs: tuple[Repair, ...],
    wishes: Wishes,
) -> dict[str, Any]:
    return {
        "source": {"name": file.path.name, "sha256": sha256, "bytes": file.path.stat().st_size},
        "format": file.format,
        "mapping": [asdict(mapped) for mapped in file.mapping],
        "unmapped": list(file.unmapped),
        "notes": list(file.notes),
        "nominal_capacity_Ah": wishes.nominal_capacity_Ah,
        "quality": report.to_json(),
        "quality_after_repair": after_repair.to_json() if after_repair else None,
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
