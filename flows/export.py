"""A campaign written for others: tables, recordings, specs, events and report in one folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.export_recording import RecordingError, write_recording
from flows.export_tables import events_table, summaries_table, trials_table
from flows.ingest import sha256_of
from flows.lab_folder import make_durable
from flows.report import report_path
from flows.ro_crate import METADATA_FILE, UNIT_CODES, Column, CrateCampaign, CrateFile, ro_crate
from flows.unfinished import sweep_unfinished, unfinished
from orchestrator.domain.errors import StoreError
from orchestrator.domain.recording import BDF_COLUMNS
from orchestrator.domain.value import to_plain

if TYPE_CHECKING:
    import polars as pl

    from flows.lab import Lab
    from orchestrator.domain.trial import Trial
    from orchestrator.store import CampaignRecord

PARQUET, CSV, JSON, HTML = "application/vnd.apache.parquet", "text/csv", "application/json", "text/html"
_SOFTWARE = ("voltloop", "ax-platform", "botorch", "pybamm")


@dataclass(frozen=True)
class Exported:
    """An export that was made.

    Attributes:
        folder: where it lies.
        files: how many files it has, the metadata included.
        size_bytes: of all files.
        left_out: what could not be exported, in words.
        notes: what stands elsewhere than it would be looked for, in words.
    """

    folder: Path
    files: int
    size_bytes: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "files": self.files,
            "size_bytes": self.size_bytes,
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


@dataclass
class _Making:
    """An export in the making."""

    lab: Lab
    campaign: CampaignRecord
    folder: Path
    files: list[CrateFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """Where a file of the export is to be written."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def note(self, path: str, encoding: str, name: str, columns: tuple[Column, ...] = ()) -> None:
        """Describe a file that has been written."""
        place = self.folder / path
        self.files.append(CrateFile(path, encoding, place.stat().st_size, sha256_of(place), name, columns))


def export_campaign(
    lab: Lab,
    name: str,
    out: Path,
    *,
    csv: bool = False,
    licence: str | None = None,
    authors: tuple[str, ...] = (),
) -> Exported:
    """Write a campaign for others. The folder appears under its name once it is complete; the same content gives the same bytes.

    Args:
        lab: the opened lab.
        name: the campaign.
        out: a folder that is not there yet, or empty; not inside the lab.
        csv: also write recordings as Battery Data Format CSV.
        licence: under which the data are given: an URL, an SPDX name, or words.
        authors: `Name` or `Name <https://orcid.org/...>`.

    Raises:
        CampaignError: if there is no such campaign.
        SpecError: if an author is not understood.
        StoreError: if the folder cannot be used; nothing is left there.
    """
    campaign = lab.store.campaign(name)
    to = out.expanduser().absolute()
    _refuse(lab.folder, to)
    ro_crate(_described(lab, campaign, licence, authors), ())
    sweep_unfinished(to.parent)
    try:
        with unfinished(to.parent) as partial:
            making = _Making(lab, campaign, partial)
            _write_everything(making, csv)
            crate = ro_crate(_described(lab, campaign, licence, authors), making.files)
            (partial / METADATA_FILE).write_text(json.dumps(crate, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            size = sum(file.size_bytes for file in making.files) + (partial / METADATA_FILE).stat().st_size
            make_durable(*(path for path in sorted(partial.rglob("*"))), partial)
            partial.replace(to)
        make_durable(to.parent)
    except OSError as error:
        raise StoreError(f"the export '{to}' cannot be made: {error.strerror or error}. Nothing was left there.") from None
    return Exported(to, len(making.files) + 1, size, tuple(making.left_out), tuple(making.notes))


def _refuse(lab_folder: Path, to: Path) -> None:
    if to.resolve().is_relative_to(lab_folder.resolve()):
        raise StoreError(f"the export '{to}' would lie inside the lab itself. Choose a folder elsewhere.")
    if to.is_symlink() or (to.exists() and not (to.is_dir() and not any(to.iterdir()))):
        raise StoreError(f"'{to}' is there already and not empty. Every export gets a folder of its own; nothing was changed.")


def _write_everything(making: _Making, csv: bool) -> None:
    lab, name = making.lab, making.campaign.name
    trials = lab.store.trials(name)
    for stem, words, (frame, columns) in (
        ("trials", "trials: what was tested, and what came of it", trials_table(making.campaign, trials)),
        ("cycle_summaries", "quantities of every recorded cycle", summaries_table(lab, name, trials)),
        ("events", "the campaign's log", events_table(lab, name)),
    ):
        _write_table(making, stem, words, frame, columns)
    for spec in lab.store.spec_versions(name):
        path = f"specs/version_{spec.version}.json"
        making.place(path).write_text(
            json.dumps(to_plain(spec.spec), indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8"
        )
        making.note(path, JSON, f"the spec, version {spec.version}")
    for trial in trials:
        _write_recording(making, trial, csv)
    report = report_path(lab, name)
    if report.is_file():
        shutil.copyfile(report, making.place("report.html"))
        making.note("report.html", HTML, "the campaign's report")


def _write_table(making: _Making, stem: str, words: str, frame: pl.DataFrame, columns: tuple[Column, ...]) -> None:
    frame.write_parquet(making.place(f"{stem}.parquet"), compression="zstd")
    making.note(f"{stem}.parquet", PARQUET, words, columns)
    frame.write_csv(making.place(f"{stem}.csv"))
    making.note(f"{stem}.csv", CSV, words, columns)


def _write_recording(making: _Making, trial: Trial, csv: bool) -> None:
    """One recording; whatever is wrong with it is said, and stops nothing else."""
    file = making.lab.store.recording_of(making.campaign.name, trial.number)
    if file is None:
        return
    stem = f"recordings/trial_{trial.number:04d}"
    metadata = {"campaign": making.campaign.name, "trial": trial.number, "source": {"uri": file.uri, "sha256": file.sha256}}
    try:
        written = write_recording(making.place(stem), lambda: making.lab.archive.read_batches(file), metadata, csv=csv)
    except RecordingError as error:
        making.left_out.append(f"trial {trial.number} is exported without its recording: {error}")
        return
    making.notes += [f"trial {trial.number}: {said}" for said in written.notes]
    for suffix, words, names in written.files:
        encoding = PARQUET if suffix.endswith("parquet") else CSV
        columns = tuple(_column(name) for name in names)
        making.note(f"{stem}.{suffix}", encoding, f"recording of trial {trial.number}, {words}", columns)


def _column(name: str) -> Column:
    if name == "quality_flags":
        return Column(name, "sum of quality flags, 0 where nothing is wrong with a row")
    if name not in BDF_COLUMNS:
        return Column(name, f"{name}, as the cycler names it: not part of the Battery Data Format")
    unit = name.rsplit("_", 1)[-1]
    words = name.removesuffix(f"_{unit}").replace("_", " ") if unit in UNIT_CODES and BDF_COLUMNS.get(name) == "f" else name
    return Column(name, f"{words.replace('_', ' ')} (Battery Data Format)", unit if BDF_COLUMNS.get(name) == "f" else "")


def _described(lab: Lab, campaign: CampaignRecord, licence: str | None, authors: tuple[str, ...]) -> CrateCampaign:
    spec = campaign.spec
    events = lab.store.events(campaign.name)
    last = (events[-1].at if events else campaign.created_at).isoformat()
    synthetic = spec.experiment.cell.synthetic
    goals = ", ".join(f"{o.goal} {o.metric}" for o in spec.objectives)
    return CrateCampaign(
        name=campaign.name,
        description=f"A closed-loop battery campaign ({goals}) run with Voltloop, exported with its trials, recordings and log."
        + (" The numbers are synthetic: they come from a model and say nothing of real cells." if synthetic else ""),
        published=last,
        started=campaign.created_at.isoformat(),
        ended=last if campaign.status in ("completed", "stopped") else None,
        status=campaign.status,
        software={name: version(name) for name in _SOFTWARE},
        synthetic=synthetic,
        licence=licence,
        authors=authors,
    )
