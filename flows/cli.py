"""The command `voltloop`. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows import data_commands, lab_commands, person_commands
from flows.disk import disk_faults_told
from flows.terminal import CampaignArgument, JsonOption, LabOption, naming_lab, note, open_lab, print_out
from orchestrator.domain.errors import VoltloopError

if TYPE_CHECKING:
    from flows.lab import Lab
    from flows.result import CampaignResult
    from orchestrator.domain.campaign_spec import CampaignSpec

app = typer.Typer(
    name="voltloop",
    help="Closed-loop battery experiments: propose, dispatch exactly once, learn, recommend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(person_commands.app)
app.add_typer(lab_commands.app)
app.add_typer(data_commands.app)
err = Console(stderr=True, highlight=False)


@app.command()
def demo(
    trials: Annotated[int, typer.Option(min=1, help="Trials in all.")] = 24,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the simulated cycler.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of cells, noise and proposals.")] = 0,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """A complete fast-charging campaign on simulated (synthetic) cells."""
    from flows.examples import demo_spec, free_name

    with open_lab(lab) as opened:
        spec = demo_spec(trials=trials, channels=channels, seed=seed)
        _run_to_the_end(opened, free_name(opened, spec), as_json)


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new campaign's name.")],
    template: Annotated[str, typer.Option(help="fast-charge, materials or replay.")] = "fast-charge",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write (default: NAME.toml).", show_default=False)
    ] = None,
    lab: LabOption = None,
) -> None:
    """Write a spec to start from."""
    from flows.examples import write_template

    for path in write_template(name, template, out or Path(f"{name}.toml")):
        print_out(f"wrote {path}")
    _note_if_taken(lab, name)
    print_out(f"next: `voltloop check {out or f'{name}.toml'}`")


@app.command()
def check(spec: Annotated[Path, typer.Argument(metavar="SPEC.toml")], lab: LabOption = None) -> None:
    """Every fault of a spec at once, with its line and how to mend it."""
    from flows.spec_check import advice, check_file

    read = check_file(spec)
    for line in advice(read):
        print_out(f"note: {line}")
    _note_if_taken(lab, read.name)
    print_out(f"{spec}: no fault found; the campaign '{read.name}' can run.")


@app.command()
def run(spec: Annotated[Path, typer.Argument(metavar="SPEC.toml")], lab: LabOption = None, as_json: JsonOption = False) -> None:
    """Run a campaign to its end; Ctrl-C leaves it resumable."""
    from flows.spec_check import check_file

    read = check_file(spec)
    with open_lab(lab) as opened:
        _run_to_the_end(opened, read, as_json)


@app.command()
def start(spec: Annotated[Path, typer.Argument(metavar="SPEC.toml")], lab: LabOption = None) -> None:
    """Register a campaign; its ticks are made by the service (`voltloop serve`) or by `voltloop tick`."""
    from flows.control import start_campaign
    from flows.spec_check import check_file

    read = check_file(spec)
    with open_lab(lab) as opened:
        start_campaign(opened, read)
    print_out(f"'{read.name}' is registered. `voltloop serve` or `voltloop tick {read.name}` advances it.")


@app.command()
def tick(campaign: CampaignArgument, lab: LabOption = None) -> None:
    """Do whatever is due in a campaign now, once."""
    from flows.campaign import advance_campaign
    from flows.progress import at_work
    from flows.standing import standing, why

    with open_lab(lab, create=False) as opened:
        report = advance_campaign(opened, campaign)
        done = f"{len(report.changed)} trials changed; lab time {report.lab_time_h:.1f} h"
        print_out(f"{campaign}: {report.status}; {at_work(opened, campaign) if report.skipped else done}")
        if report.status == "needs_attention":
            for line in filter(None, (why(opened, opened.store.campaign(campaign)), *standing(opened, campaign))):
                note(f"{campaign}: {line}")
    _exit_for(report.status)


@app.command()
def resume(campaign: CampaignArgument, lab: LabOption = None, as_json: JsonOption = False) -> None:
    """Go on with a campaign until it ends; tests that are running are adopted, never started again."""
    from flows.control import resume_campaign
    from flows.progress import following
    from flows.standing import ended_for_good

    with open_lab(lab, create=False) as opened:
        if said := ended_for_good(opened, campaign):
            note(said)
        with _resumable(campaign), following(opened, campaign, err) as on_tick:
            result = resume_campaign(opened, campaign, on_tick)
        _show(opened, result, as_json)
    _exit_for(result.status)


@app.command()
def status(
    campaign: Annotated[str | None, typer.Argument(metavar="[CAMPAIGN]", help="Default: the latest.", show_default=False)] = None,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where a campaign stands."""
    from flows.result import campaign_result, front_predicted

    with open_lab(lab, create=False) as opened:
        name = campaign or _latest(opened)
        result = campaign_result(opened, name)
        _show(opened, result, as_json, front_predicted=front_predicted(opened, name))


@app.command()
def recommend(
    campaign: CampaignArgument,
    weights: Annotated[str | None, typer.Option(help='Weighted sum, "metric=weight,...".', show_default=False)] = None,
    epsilon: Annotated[str | None, typer.Option(help='Limits to keep, "metric<=x,...".', show_default=False)] = None,
    confidence: Annotated[float, typer.Option(help="Probability with which limits must hold.")] = 0.95,
    lab: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose among measured trials by a stated preference."""
    from flows.closing import preference_of, recommend_now, recommendation_json

    with open_lab(lab, create=False) as opened:
        preference = preference_of(opened.store.campaign(campaign).spec, weights, epsilon, confidence)
        choice = recommend_now(opened, campaign, preference, confidence)
    if as_json:
        print_out(json.dumps(recommendation_json(choice)))
    else:
        print_out(f"{choice.why}\n{choice.candidate.describe() if choice.candidate else ''}\npreference: {choice.preference}")


@app.command()
def report(
    campaign: CampaignArgument,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", show_default=False)] = None,
    lab: LabOption = None,
) -> None:
    """Write the campaign's report: one HTML file that needs no network."""
    from flows.report import write_report

    with open_lab(lab, create=False) as opened:
        print_out(str(write_report(opened, campaign, out)))


def _run_to_the_end(lab: Lab, spec: CampaignSpec, as_json: bool) -> None:
    from flows.control import run_campaign
    from flows.progress import following

    with _resumable(spec.name), following(lab, spec.name, err) as on_tick:
        result = run_campaign(lab, spec, on_tick)
    _show(lab, result, as_json)
    _exit_for(result.status)


class InterruptedRunError(VoltloopError):
    """A person pressed Ctrl-C."""

    exit_code = 130


@contextmanager
def _resumable(campaign: str) -> Iterator[None]:
    """Turn Ctrl-C into one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"interrupted; nothing is lost, running tests go on. `voltloop resume {campaign}` takes them up again."
        raise InterruptedRunError(message) from None


def _show(lab: Lab, result: CampaignResult, as_json: bool, **further: Any) -> None:
    from flows.progress import summary

    if as_json:
        print_out(json.dumps({**result.to_json(), **further}))
    else:
        Console(highlight=False).print(summary(lab, result), crop=False)


def _exit_for(status: str) -> None:
    if status == "needs_attention":
        raise typer.Exit(4)


def _note_if_taken(folder: Path | None, name: str) -> None:
    """Say so if a lab that was named has a campaign of that name already: names are unique in a lab."""
    if folder is None:
        return
    with open_lab(folder, create=False) as opened:
        if any(campaign.name == name for campaign in opened.store.campaigns()):
            print_out(f"note: the lab '{folder}' has a campaign '{name}'; `voltloop resume {name}` goes on with it.")


def _latest(lab: Lab) -> str:
    from orchestrator.domain.errors import CampaignError

    campaigns = lab.store.campaigns()
    if not campaigns:
        raise CampaignError(f"the lab '{lab.folder}' has no campaign yet. `voltloop run SPEC.toml` starts one.")
    return campaigns[-1].name


def main() -> None:
    """Run the command line; every fault is one message on stderr and an exit code."""
    try:
        with disk_faults_told():
            app()
    except VoltloopError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted before anything was started.", 130)
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        if os.environ.get("VOLTLOOP_DEBUG"):
            raise
        kind = type(error).__name__
        _fail(f"internal fault ({kind}: {error}). The lab's data are safe; VOLTLOOP_DEBUG=1 shows where it happened.", 1)


def _fail(message: str, code: int) -> None:
    for line in naming_lab(message).splitlines():
        sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
