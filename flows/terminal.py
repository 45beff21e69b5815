"""What every command of the terminal shares: options, opening the lab, plain output."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.domain.errors import CampaignError

if TYPE_CHECKING:
    from flows.lab import Lab

LabOption = Annotated[
    Path | None, typer.Option("--lab", help="The lab's folder (default: VOLTLOOP_LAB, else ./lab).", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides (default: user@host).", show_default=False)]
CyclerArgument = Annotated[str, typer.Argument(metavar="CYCLER/CHANNEL", help="As `channels list` has it; or CYCLER CHANNEL.")]
ChannelArgument = Annotated[
    str | None, typer.Argument(metavar="CHANNEL", help="If not named with the cycler.", show_default=False)
]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's name in this lab.")]


def open_lab(folder: Path | None, create: bool = True) -> Lab:
    """The lab of a command, opened."""
    from flows.lab import Lab

    return Lab.open(folder, create=create)


def print_out(text: str) -> None:
    """Plain text on stdout, untouched by markup and wrapping; commands in it name the lab that was named."""
    sys.stdout.write(naming_lab(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """What a person should know while a command works, on stderr."""
    typer.echo(naming_lab(text), err=True)


def naming_lab(text: str) -> str:
    """Commands in backquotes with the `--lab` that was given on the command line, so that they work as they stand."""
    given = _lab_given(sys.argv[1:])
    if given is None:
        return text
    return re.sub(r"`(voltloop (?![^`]*--lab)[^`]+)`", lambda found: f"`{found[1]} --lab {shlex.quote(given)}`", text)


def _lab_given(arguments: list[str]) -> str | None:
    for option, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if option == "--lab":
            return following
        if option.startswith("--lab="):
            return option.removeprefix("--lab=")
    return None


def channel_named(cycler: str, channel: str | None) -> tuple[str, str]:
    """Cycler and channel, whether given as `sim/2` or as `sim 2`.

    Raises:
        CampaignError: no channel is named.
    """
    if channel is None:
        cycler, _, channel = cycler.partition("/")
    if not channel:
        raise CampaignError(f"name the channel too: {cycler}/CHANNEL. `voltloop channels list` shows which there are.")
    return cycler, channel
