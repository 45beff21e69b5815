"""The loop as Prefect flows: one tick per campaign on a schedule, and forms: start a campaign, approve trials, stop.

The flows are thin: Prefect schedules, shows and retries. What was dispatched is known to the lab's store alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, tags, task
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Failed
from prefect.types.entrypoint import EntrypointType
from pydantic import Field

from flows.artifacts import publish
from flows.campaign import advance_campaign
from flows.control import decide_trials, request_stop, start_campaign
from flows.examples import write_template
from flows.lab import Lab, lab_folder
from flows.spec_check import check_file
from flows.turns import ticks_in_turn
from orchestrator.domain.campaign_spec import CAMPAIGN_NAME, Budget, CampaignSpec
from orchestrator.domain.errors import CampaignError, Fault, SpecError, VoltloopError

# A lab in virtual time has no reason to wait for the next tick: one run makes ticks for this long.
VIRTUAL_TICKS_S = 45.0


class TemplateName(StrEnum):
    """The templates a form offers."""

    FAST_CHARGE = "fast-charge"
    MATERIALS = "materials"
    REPLAY = "replay"


@task(task_run_name="{campaign} trial {number}: {status}")
def _trial_changed(campaign: str, number: int, status: str) -> str:
    """One trial's change, as a task that the timeline shows."""
    get_run_logger().info("%s: trial %s is %s", campaign, number, status)
    return status


@task(name="publish", task_run_name="publish {campaign}")
def _publish(folder: str, campaign: str) -> list[str]:
    """The campaign's artifacts."""
    with Lab.open(folder, create=False) as lab:
        return publish(lab, campaign)


@flow(name="tick", flow_run_name="{campaign}", log_prints=False)
def tick_campaign(lab: str, campaign: str) -> str:
    """Do whatever is due in one campaign now; in virtual time, go on for a while, in turn with the others that run."""
    logger, until = get_run_logger(), time.monotonic() + VIRTUAL_TICKS_S
    changed: dict[tuple[str, int], str] = {}
    states: dict[str, str] = {}
    news: set[str] = set()
    with Lab.open(lab, create=False) as opened:
        for report in ticks_in_turn(opened, campaign, lambda: time.monotonic() < until, logger.error):
            name, said = report.campaign, report.changed or "nothing"
            logger.info("%s: %s, lab time %.1f h, changed: %s", name, report.status, report.lab_time_h, said)
            now = {trial.number: trial.status.value for trial in report.trials}
            changed |= {(name, number): now[number] for number in report.changed}
            states[name] = report.status
            news |= {name} if report.changed or report.ended else set()
    for (name, number), status in changed.items():
        _trial_changed(name, number, status)
    for name in sorted(news):
        _publish(lab, name)
    return states[campaign]


@flow(name="advance-lab", flow_run_name="advance every running campaign")
def advance_lab() -> dict[str, str]:
    """One tick for every campaign that runs in the served lab."""
    lab = str(lab_folder(None))
    with Lab.open(lab, create=False) as opened:
        running = [campaign.name for campaign in opened.store.campaigns() if campaign.status == "running"]
    states = {}
    for name in running:
        with tags(f"campaign:{name}"):
            state: Any = tick_campaign(lab, name, return_state=True)
            states[name] = state.name
    _look_at_waiting(lab)
    return states


def _look_at_waiting(lab: str) -> None:
    """Campaigns that wait for a person take in what ended; a flow run for each would fill Prefect's database."""
    with Lab.open(lab, create=False) as opened:
        for name in [campaign.name for campaign in opened.store.campaigns() if campaign.status == "needs_attention"]:
            try:
                advance_campaign(opened, name)
            except Exception as error:  # noqa: BLE001 - one campaign's fault must not keep the others waiting
                get_run_logger().error("%s waits for a person and could not be looked at: %s", name, error)


@flow(name="start-campaign", flow_run_name="start {name}")
def start_from_form(
    name: str,
    template: TemplateName = TemplateName.FAST_CHARGE,
    trials: Annotated[int, Field(ge=1, le=10_000)] = 24,
    seed: Annotated[int, Field(ge=0)] = 0,
    spec_toml: str = "",
) -> Any:
    """Register a campaign in the served lab; the schedule's next tick takes it up.

    Args:
        name: The campaign's name, new in this lab: letters, digits, . _ and -.
        template: What to start from; all of them run on simulated or replayed cells.
        trials: The budget: how many cells may be tested.
        seed: Seed of the proposals.
        spec_toml: Instead of a template, the text of a spec file; its own budget and seed then hold.
    """
    lab = lab_folder(None)
    logger = get_run_logger()
    try:
        spec = _spec_of(lab, name, template, spec_toml, trials, seed)
        with Lab.open(lab) as opened:
            start_campaign(opened, spec)
            publish(opened, spec.name)
    except VoltloopError as error:
        logger.error("%s", error)
        return Failed(message=str(error))
    logger.info("'%s' is registered: %s trials; the next tick starts it", spec.name, spec.budget.trials)
    return spec.name


class Decision(StrEnum):
    """What a person says of proposed trials."""

    APPROVE = "approve"
    REJECT = "reject"


@flow(name="decide-trials", flow_run_name="{decision} trials of {campaign}")
def decide_from_form(
    campaign: str,
    decision: Decision,
    by: Annotated[str, Field(min_length=1)],
    trials: list[int] | None = None,
    all_waiting: bool = False,
    reason: str = "",
) -> Any:
    """Approve or reject trials that wait for a person; all of them or none.

    Args:
        campaign: The campaign's name.
        decision: Whether they may run.
        by: Who decides; kept with the trials.
        trials: Their numbers, as the campaign's progress artifact lists them.
        all_waiting: Instead of numbers: every trial that waits at this moment, also one proposed since you looked.
        reason: Why; kept in the log, and with a rejected trial.
    """
    logger, approved = get_run_logger(), decision is Decision.APPROVE
    try:
        if bool(trials) == all_waiting:
            raise CampaignError("name the trials by number, or tick all_waiting.")
        with Lab.open(lab_folder(None), create=False) as opened:
            chosen = None if all_waiting else trials
            decided = decide_trials(opened, campaign, chosen, approved=approved, by=by, reason=reason)
            publish(opened, campaign)
    except VoltloopError as error:
        logger.error("%s", error)
        return Failed(message=str(error))
    numbers = [trial.number for trial in decided]
    logger.info("%s: %s %s by %s", campaign, "approved" if approved else "rejected", numbers or "nothing new", by)
    return numbers


@flow(name="stop-campaign", flow_run_name="stop {campaign}")
def stop_from_form(
    campaign: str,
    reason: Annotated[str, Field(min_length=1)],
    by: Annotated[str, Field(min_length=1)],
    trial: Annotated[int, Field(ge=1)] | None = None,
) -> Any:
    """Ask for a campaign, or one trial, to stop; the next tick carries it out and verifies it. No emergency stop.

    Args:
        campaign: The campaign's name.
        reason: Why; kept with what is stopped.
        by: Who asks.
        trial: One trial only.
    """
    try:
        with Lab.open(lab_folder(None), create=False) as opened:
            request_stop(opened, campaign, trial, reason, by)
    except VoltloopError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error))
    return f"{campaign} is to stop"


def _spec_of(lab: Path, name: str, template: TemplateName, spec_toml: str, trials: int, seed: int) -> CampaignSpec:
    """The spec a form describes; its file, and the tables a template brings, stay in the lab's folder."""
    if not CAMPAIGN_NAME.match(name):
        raise SpecError(Fault("name", f"'{name}' is not a usable name.", "Use up to 80 letters, digits, . _ and -, no spaces."))
    with Lab.open(lab) as opened:
        if name in {campaign.name for campaign in opened.store.campaigns()}:
            raise CampaignError(f"this lab has a campaign '{name}' already. Give the new one another name.")
    folder = lab / "specs" / name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    file = folder / "spec.toml"
    if spec_toml.strip():
        file.write_text(spec_toml, encoding="utf-8")
        return replace(check_file(file), name=name)
    write_template(name, template.value, file)
    return replace(check_file(file), budget=Budget(trials=trials), seed=seed)


def deployments(interval_s: float) -> list[RunnerDeployment]:
    """The deployments of the served lab (`VOLTLOOP_LAB`): the scheduled tick, one at a time, and the forms."""
    make_ticks: Callable[..., Any] = advance_lab.to_deployment
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    options = {"name": "lab", "tags": ["voltloop"], "entrypoint_type": EntrypointType.MODULE_PATH}
    ticks = make_ticks(
        interval=timedelta(seconds=interval_s),
        concurrency_limit=one,
        description="One tick for every running campaign, on a schedule.",
        **options,
    )
    return [ticks, *(_form(made_from, description, options) for made_from, description in FORMS)]


FORMS: tuple[tuple[Any, str], ...] = (
    (start_from_form, "Start a campaign."),
    (decide_from_form, "Approve or reject trials that wait for a person."),
    (stop_from_form, "Ask for a campaign, or one trial, to stop."),
)


def _form(made_from: Any, description: str, options: dict[str, Any]) -> RunnerDeployment:
    made: RunnerDeployment = made_from.to_deployment(description=description, **options)
    return made
