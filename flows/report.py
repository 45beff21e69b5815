"""From the store to the report: what `orchestrator.decision.report` is given, and where the file goes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.lab import Lab
from flows.result import RECOMMENDED, campaign_result, ended_with_outcome, last_choice, reference_point_of
from flows.standing import why
from orchestrator.campaign import Campaign
from orchestrator.decision import Recommendation, limit_calibration, pareto_front
from orchestrator.decision.report import ReportData, render_report
from orchestrator.domain.candidate import Candidate
from orchestrator.domain.clock import EPOCH
from orchestrator.domain.errors import StoreError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.spec_changes import Change
from orchestrator.domain.trial import Trial
from orchestrator.store import CampaignRecord, Event
from orchestrator.store.amendments import AMENDED

LIBRARIES = ("voltloop", "botorch", "gpytorch", "ax-platform", "torch", "pybamm", "numpy", "scipy")
# Events that a reader of the report wants on the timeline; the rest is in the store.
_WORTH_READING = ("stop_requested", "trial_failed", "trial_aborted", "trial_early_stopped", "trial_unknown", "trial_cancelled",
                  "trial_flagged", "channel_quarantined", "cycler_unreachable", "campaign_", "resumed",
                  "reference_point_fixed")  # fmt: skip


def write_report(lab: Lab, name: str, out: Path | None = None) -> Path:
    """Write a campaign's report, whole or not at all.

    Args:
        lab: the opened lab.
        name: the campaign.
        out: the file; default `reports/<name>.html` in the lab's folder.

    Returns:
        The file written.

    Raises:
        CampaignError: if there is no such campaign.
        StoreError: if the file cannot be written.
    """
    believed = _campaign(lab, name)
    shown = replace(report_data(lab, name), posterior=_posterior(believed), kernel_shares=believed.kernel_shares())
    page = render_report(shown)
    path = out or report_path(lab, name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"the report cannot be written to '{path}': {error.strerror}. Choose another file with -o.") from None
    return path


def _campaign(lab: Lab, name: str) -> Campaign:
    campaign = lab.store.campaign(name)
    return Campaign(campaign.spec, tuple(lab.store.trials(name)), reference_point=reference_point_of(campaign))


def _posterior(campaign: Campaign) -> dict[int, dict[str, Estimate]]:
    """What the surrogate believes of every candidate that has a measured outcome."""
    space = campaign.spec.space  # what lies outside of it since it was amended cannot be asked for
    measured = [trial for trial in ended_with_outcome(campaign.trials) if not space.violations(trial.candidate)]
    if not measured:
        return {}
    believed = campaign.predict([t.candidate for t in measured])
    return {trial.number: estimates for trial, estimates in zip(measured, believed, strict=True)}


def report_path(lab: Lab, name: str) -> Path:
    """Where a campaign's report lies."""
    return lab.folder / "reports" / f"{name}.html"


def report_data(lab: Lab, name: str) -> ReportData:
    """Everything a report shows, read from the store."""
    campaign, trials = lab.store.campaign(name), lab.store.trials(name)
    result, point = campaign_result(lab, name), reference_point_of(campaign)
    outcomes = {trial.number: trial.outcome for trial in ended_with_outcome(trials)}
    recommendation, refusal = _choice(lab, name, trials)
    return ReportData(
        spec=campaign.spec,
        status=campaign.status,
        status_reason=why(lab, campaign),
        trials=trials,
        units=_units(trials),
        front=pareto_front(campaign.spec.objectives, campaign.spec.constraints, outcomes, point),
        hypervolume=result.hypervolume,
        recommendation=recommendation,
        no_recommendation=refusal,
        traces={trial.number: lab.store.cycle_summaries(name, trial.number) for trial in trials if trial.ended_h is not None},
        channels=_channel_use(lab, campaign, trials),
        channel_utilisation=result.channel_utilisation,
        lab_time_h=result.lab_time_h,
        wall_s=result.wall_s,
        limits_violated=result.limits_violated,
        limit_calibration=limit_calibration(lab.store.decisions(name), trials),
        synthetic=any(c.capabilities.synthetic for c in lab.cyclers_for(campaign.spec).values()),
        events=[_shown(event) for event in lab.store.events(name) if _worth_reading(event)],
        provenance=_provenance(lab, campaign),
        spec_version=campaign.spec_version,
        started_h=campaign.started_h,
        generated_at=lab.store.database.now().strftime("%Y-%m-%d %H:%M UTC"),
    )


def _choice(lab: Lab, name: str, trials: Iterable[Trial]) -> tuple[Recommendation | None, str | None]:
    """The stored recommendation, or why there is none."""
    choice = last_choice(lab, name)
    if choice is None:
        return None, "The campaign has not ended yet."
    kind, data = choice
    if kind != RECOMMENDED:
        return None, str(data["why"])
    expected = {metric: Estimate(e["mean"], e["sem"]) for metric, e in data["expected"].items()}
    chosen = next((trial.candidate for trial in trials if trial.number == data["trial"]), Candidate(data["candidate"]))
    return Recommendation(chosen, expected, data["preference"], data["why"], data["trial"]), None


def _units(trials: Iterable[Trial]) -> dict[str, str | None]:
    return {metric: e.unit for trial in trials for metric, e in trial.outcome.items() if e.unit}


def _channel_use(
    lab: Lab, campaign: CampaignRecord, trials: Iterable[Trial]
) -> list[tuple[str, str, list[tuple[int, float, float]]]]:
    """Who held each channel when, hours since the campaign's start."""
    names, start_h, now_h = lab.cyclers_for(campaign.spec), campaign.started_h, lab.now_h()
    use: dict[tuple[str, str], list[tuple[int, float, float]]] = {
        (channel.cycler, channel.name): [] for channel in lab.store.channels() if channel.cycler in names
    }
    for trial in trials:
        place = (trial.cycler or "", trial.channel or "")
        if trial.started_h is not None and place in use:
            end_h = now_h if trial.ended_h is None else trial.ended_h
            use[place].append((trial.number, trial.started_h - start_h, end_h - start_h))
    return [(cycler, channel, spans) for (cycler, channel), spans in use.items()]


def _worth_reading(event: Event) -> bool:
    """Whether a reader wants it: among approvals only those that a person gave."""
    return event.kind.startswith(_WORTH_READING) or (event.kind == "trial_approved" and "by" in event.data)


def _shown(event: Event) -> tuple[float, str, int | None, str]:
    if event.kind == AMENDED:
        changes = "; ".join(str(Change(**change)) for change in event.data["changes"])
        return event.lab_time_h, event.kind, None, f"version {event.data['spec_version']}, by {event.data['by']}: {changes}"
    told = {key: given for key, given in event.data.items() if key in ("reason", "by", "error", "stopped_because", "why")}
    text = "; ".join(f"{given}" if key == "reason" else f"{key}: {given}" for key, given in told.items() if given)
    return event.lab_time_h, event.kind, event.trial, text


def _provenance(lab: Lab, campaign: CampaignRecord) -> dict[str, str]:
    spec: Any = campaign.spec
    return {
        "spec": f"version {campaign.spec_version}, sha256 {spec.sha256}",
        "seed": str(spec.seed),
        "cyclers": ", ".join(f"{c.name} ({c.kind})" for c in spec.cyclers) or ", ".join(lab.cyclers_for(spec)),
        "registered": campaign.created_at.strftime("%Y-%m-%d %H:%M UTC"),
        "lab time counts from": EPOCH.strftime("%Y-%m-%d") if lab.virtual_time else "real time",
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }
