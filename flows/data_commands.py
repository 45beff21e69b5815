"""`voltloop ingest` and `voltloop export`: data in from cyclers' files, a campaign out for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.lab_folder import lab_folder
from flows.terminal import CampaignArgument, JsonOption, LabOption, note, open_lab, print_out
from orchestrator.domain.errors import Fault, SpecError, VoltloopError

if TYPE_CHECKING:
    from flows.ingest import Ingested

app = typer.Typer(no_args_is_help=True)


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What cyclers or their software wrote.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Default: `ingested` in the lab's folder.", show_default=False)
    ] = None,
    nominal_capacity_Ah: Annotated[
        float | None,
        typer.Option("--nominal-capacity-Ah", "--nominal-capacity-ah", help="Of the cell: sharper checks.", show_default=False),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help='What a column is: "U=voltage_volt [mV]", "I=-current_ampere", "X=ignore". Repeatable.', show_default=False
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Of dates that name none, as Europe/Berlin.")] = "UTC",
    repair: Annotated[
        list[str] | None,
        typer.Option(
            help="time-order, drop-duplicates, current-sign, current-unit, voltage-unit. Repeatable.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that have other content.")] = False,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in raw cycler files: one Parquet file each in Battery Data Format, checked, with every row flagged."""
    from flows.ingest import INGESTED_FOLDER, Ingested, NotIngested, Wishes, ingest_files

    folder = (to if to is not None else lab_folder(lab) / INGESTED_FOLDER).expanduser()
    wishes = Wishes(nominal_capacity_Ah, _columns(column or []), time_zone, tuple(repair or ()), force)
    taken: list[Ingested] = []
    refused: list[NotIngested] = []
    for one in ingest_files(files, folder, wishes):
        if isinstance(one, Ingested):
            taken.append(one)
            if not as_json:
                _show(one)
        else:
            refused.append(one)
    if as_json:
        print_out(
            json.dumps({"to": str(folder), "ingested": [i.to_json() for i in taken], "failed": [f.to_json() for f in refused]})
        )
    if refused:
        raise VoltloopError("\n".join(one.error for one in refused))


@app.command()
def export(
    campaign: CampaignArgument,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="A folder that is not there yet, or empty.")],
    csv: Annotated[bool, typer.Option("--csv", help="Recordings as Battery Data Format CSV besides Parquet.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="Under which the data are given: an URL or SPDX name.", show_default=False)
    ] = None,
    author: Annotated[
        list[str] | None, typer.Option(help='"Name", or "Name <https://orcid.org/...>". Repeatable.', show_default=False)
    ] = None,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a campaign for others: tables, recordings, specs, events and report, described as an RO-Crate."""
    from flows.export import export_campaign

    with open_lab(lab, create=False) as opened:
        made = export_campaign(opened, campaign, out, csv=csv, licence=licence, authors=tuple(author or ()))
    for said in (*made.left_out, *made.notes):
        note(said)
    if as_json:
        print_out(json.dumps(made.to_json()))
    else:
        print_out(f"{made.folder}: {made.files} files, {made.size_bytes / 1e6:.1f} MB")


def _columns(stated: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in stated:
        header, equals, meaning = text.rpartition("=")
        if not equals or not header.strip() or not meaning.strip():
            raise SpecError(
                Fault("--column", f"'{text}' is not understood.", 'Write "HEADER=voltage_volt [mV]" or "HEADER=ignore".')
            )
        if header.strip() in columns:
            raise SpecError(Fault("--column", f"'{header.strip()}' is stated twice."))
        columns[header.strip()] = meaning.strip()
    return columns


def _show(one: Ingested) -> None:
    report = one.report
    dropped = f", {one.rows_written} written" if one.rows_written != one.rows else ""
    print_out(f"{one.source.name}: {one.format}, {one.rows} rows{dropped}, {report.cycles or 'no'} cycles numbered")
    print_out(f"  -> {one.output}" + (" (was there already, unchanged)" if one.unchanged else ""))
    print_out(f"  integrated: {report.charged_Ah:.6g} Ah charged, {report.discharged_Ah:.6g} Ah discharged")
    if report.vendor_charged_Ah is not None and report.vendor_discharged_Ah is not None:
        print_out(f"  cycler's own: {report.vendor_charged_Ah:.6g} Ah charged, {report.vendor_discharged_Ah:.6g} Ah discharged")
    print_out("  mapped: " + "; ".join(f"{mapped['vendor']} -> {mapped['bdf']}" for mapped in one.mapping))
    if one.unmapped:
        print_out(f"  not mapped: {', '.join(one.unmapped)}")
    for said in one.notes:
        print_out(f"  assumed: {said}")
    for finding in report.findings:
        print_out(f"  found: {finding}")
    if falls := report.step_time.get("falls"):
        print_out(
            f"  step time falls back {falls} times ({report.step_time['falls_over_1_s']} by more than a second), "
            f"{report.step_time['within_a_step']} of them within a step"
        )
    if report.clean:
        print_out("  found: nothing wrong")
    for missing in report.not_checked:
        print_out(f"  not checked: {missing}")
    _show_repairs(one)


def _show_repairs(one: Ingested) -> None:
    for repair in one.repairs:
        print_out(f"  repair {repair.name}: {repair.rows} rows: {repair.to_json()['what']}")
    if one.after_repair is not None:
        for finding in one.after_repair.findings:
            print_out(f"  found after repair: {finding}")
        if one.after_repair.clean:
            print_out("  found after repair: nothing wrong")
