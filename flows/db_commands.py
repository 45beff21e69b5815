"""`voltloop db`: bring the schema up to date, check the lab, back it up. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.lab_folder import database_of, lab_folder, lost_database
from flows.terminal import JsonOption, LabOption, note, print_out
from orchestrator.domain.errors import NeedsPersonError, StoreError

if TYPE_CHECKING:
    from flows.db_check import LabCheck

app = typer.Typer(help="The lab's database and files: upgrade, check, backup.", no_args_is_help=True)


@app.command()
def upgrade(lab: LabOption = None) -> None:
    """Bring the database's schema up to date; opening the lab with any other command does so too."""
    from orchestrator.store import TrialStore, schema
    from orchestrator.store.untouched import read_untouched

    database = database_of(lab_folder(lab))
    before = read_untouched(database, lambda session: schema.stored_revision(session.connection()))
    TrialStore.open(database, create=False).close()
    print_out(f"schema {schema.HEAD}: was up to date" if before == schema.HEAD else f"schema {before} -> {schema.HEAD}")


@app.command()
def check(
    lab: LabOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is safe to; nothing is ever deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Whether database, recordings and states are sound; nothing is written without --repair. Ticks may be at work."""
    from flows.db_check import check_lab

    if lost := lost_database(lab_folder(lab)):
        raise StoreError(lost)
    checked = check_lab(lab_folder(lab), repair=repair)
    if as_json:
        print_out(json.dumps(checked.to_json()))
    else:
        _show(checked)
    if not checked.clean:
        raise typer.Exit(NeedsPersonError.exit_code)


def _show(checked: LabCheck) -> None:
    for finding in checked.repaired:
        print_out(f"repaired: {finding.where}: {finding.problem}")
    for finding in checked.findings:
        print_out(f"{'note' if finding.mend == 'itself' else finding.kind}: {finding}")
    told = sum(finding.mend != "itself" for finding in checked.findings)
    said = "nothing to mend" if checked.clean else f"{told} {'fault' if told == 1 else 'faults'}"
    print_out(f"{checked.lab}: {said} (schema {checked.revision})")


@app.command()
def backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that is not there yet, or empty.")],
    link: Annotated[bool, typer.Option("--link", help="Hard-link recordings instead of copying them (same disk).")] = False,
    lab: LabOption = None,
) -> None:
    """Copy the lab while it works: a lab folder of its own, with a manifest of hashes."""
    from flows.backup import back_up

    made = back_up(lab_folder(lab), destination, link=link)
    print_out(f"{made.folder}: {made.files} files, {made.size_bytes / 1e6:.1f} MB")
    if made.elsewhere:
        note(f"{len(made.elsewhere)} recordings lie in an object store and were not copied: it needs a backup of its own.")
    if made.damaged:
        raise NeedsPersonError("\n".join([*made.damaged, "Everything else is in the backup; look with `voltloop db check`."]))
