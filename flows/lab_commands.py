"""Commands that concern the lab as a whole: its channels and its service. Each imports what it needs when it runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows import db_commands
from flows.terminal import (
    ByOption,
    ChannelArgument,
    CyclerArgument,
    LabOption,
    channel_named,
    open_lab,
    print_out,
)

if TYPE_CHECKING:
    from flows.lab import Lab

app = typer.Typer()
channels_app = typer.Typer(help="The lab's channels: list, quarantine, release.", no_args_is_help=True)
app.add_typer(channels_app, name="channels")
app.add_typer(db_commands.app, name="db")


@channels_app.command("list")
def channels_list(lab: LabOption = None) -> None:
    """Every channel and who holds it; emergency stops that hold; and how campaigns at work share them."""
    from flows.progress import channel_table, share_table
    from flows.standing import latch_lines

    with open_lab(lab, create=False) as opened:
        for table in filter(None, (channel_table(opened), share_table(opened))):
            Console().print(table)
        for line in latch_lines(opened):
            print_out(line)


@channels_app.command("quarantine")
def channels_quarantine(
    cycler: CyclerArgument,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    channel: ChannelArgument = None,
    lab: LabOption = None,
) -> None:
    """Take a channel out of use, as in `voltloop channels quarantine sim/2 --reason "smells"`. A test on it goes on."""
    cycler, channel = channel_named(cycler, channel)
    with open_lab(lab, create=False) as opened:
        opened.store.quarantine(cycler, channel, reason=reason, lab_time_h=opened.now_h())
        holder = _on(opened, cycler, channel)
    print_out(f"{cycler}/{channel} is quarantined: {reason}")
    if holder is not None:
        name, number = holder
        end_it = f"`voltloop stop {name} --trial {number} --reason {shlex.quote(reason)}` ends it"
        print_out(f"{name} trial {number} runs on it and goes on; {end_it}")


@channels_app.command("release")
def channels_release(cycler: CyclerArgument, channel: ChannelArgument = None, lab: LabOption = None) -> None:
    """Give a quarantined channel back, as in `voltloop channels release sim/2`."""
    cycler, channel = channel_named(cycler, channel)
    with open_lab(lab, create=False) as opened:
        opened.store.release(cycler, channel, lab_time_h=opened.now_h())
        holder = _on(opened, cycler, channel)
    still = f"; {holder[0]} trial {holder[1]} still runs on it" if holder else ""
    print_out(f"{cycler}/{channel} is back in use{still}" if holder else f"{cycler}/{channel} is free")


def _on(lab: Lab, cycler: str, channel: str) -> tuple[str, int] | None:
    """The campaign and trial that hold a channel."""
    held = [c for c in lab.store.channels() if (c.cycler, c.name) == (cycler, channel)]
    return next(((c.campaign, c.trial) for c in held if c.campaign is not None and c.trial is not None), None)


@app.command()
def estop(
    cycler: Annotated[str | None, typer.Option(help="One cycler only (default: all of the lab).", show_default=False)] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "no reason given",
    by: ByOption = None,
    lift: Annotated[bool, typer.Option("--lift", help="It is safe again: tests may be started.")] = False,
    lab: LabOption = None,
) -> None:
    """Stop the lab's cyclers now, straight at the devices; nothing is started on them until --lift."""
    from flows.estop import emergency_stop_folder, lift_emergency_stop, record_soon, waiting_since_the_stop
    from flows.estop_records import is_kept
    from flows.lab_folder import lab_folder
    from flows.latch import WHOLE_LAB
    from flows.person import this_person

    folder, by = lab_folder(lab), by or this_person()
    if lift:
        lifted = lift_emergency_stop(folder, cycler, by=by)
        names = ", ".join(name for name in lifted if name != WHOLE_LAB) or "the whole lab"
        print_out(f"lifted: {names}; tests may be started" if lifted else _nothing_latched(folder))
        record_soon(folder)
        for name in waiting_since_the_stop(folder) if lifted else ():
            print_out(f"'{name}' waits: `voltloop resume {name}` goes on with it, and so does a running service")
        return
    done = emergency_stop_folder(folder, cycler, reason=reason, by=by)
    for name, problem in done.answers.items():
        print_out(f"{name}: {'NOT CONFIRMED' if problem else 'stopped'}")
    for fault in done.faults:
        typer.echo(f"error: {fault}", err=True)
    print_out("latched: nothing is started there until `voltloop estop --lift`" if not done.unlatched else "NOT latched")
    unrecorded = record_soon(folder)
    if not is_kept(folder, done.order.id):
        print_out("nothing of it could be recorded: note yourself when the stop was given, by whom and why")
    elif unrecorded:
        print_out(f"kept in '{folder / 'estop'}'; it enters the lab's log when the database answers ({unrecorded})")
    if not done.confirmed:
        raise typer.Exit(4)


def _nothing_latched(folder: Path) -> str:
    """A stop in a folder that cannot be written has set no latch: whoever lifts it should know why."""
    cannot = "" if os.access(folder, os.W_OK) else f"; '{folder}' cannot be written, so no stop can latch there"
    return f"nothing was latched{cannot}"


@app.command()
def serve(
    lab: LabOption = None,
    port: Annotated[int, typer.Option(help="Port of the Prefect server, on loopback.")] = 4200,
    interval_s: Annotated[float, typer.Option("--interval", min=1, help="Seconds between ticks.")] = 30.0,
) -> None:
    """The whole lab in one command: Prefect server, deployments, schedules and the process that runs them."""
    from flows.lab import lab_folder
    from flows.service import serve_lab

    serve_lab(lab_folder(lab), port, interval_s)
