"""A campaign's result: the JSON of CONTRACT as an object, read from the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from flows.lab import Lab
from orchestrator.decision import hypervolume_trace, pareto_front
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.store import CampaignRecord

RECOMMENDED, NOT_RECOMMENDED = "recommended", "not_recommended"


class _Fields:
    """Fields by name as well as by attribute, as the JSON has them."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


@dataclass(frozen=True)
class TrialResult(_Fields):
    """One trial as the JSON shows it; `flag` says why it would not be started today, although it runs."""

    number: int
    status: str
    candidate: dict[str, Any]
    channel: str | None
    outcome: dict[str, dict[str, Any]]
    stopped_because: str | None
    decided_by: str | None = None
    flag: str | None = None


@dataclass(frozen=True)
class CampaignResult(_Fields):
    """A campaign's result.

    Attributes:
        status: running, completed, stopped or needs_attention.
        front: numbers of the non-dominated feasible trials, by measured values.
        hypervolume: one entry per trial that ended with an outcome, in the order they ended.
        recommendation: `{trial, candidate, expected, preference}`, or None while there is none.
        limits_violated: dispatched trials whose true value passed a safe limit (known for synthetic cells alone).
        channel_utilisation: busy channel time over channels times lab time, from the campaign's start to its end or now.
        lab_time_h: lab time from start to end or now, hours.
        wall_s: wall time spent in ticks, seconds.
        report: path of the report, once there is one.
    """

    campaign: str
    status: str
    spec_version: int
    trials: list[TrialResult]
    front: list[int]
    hypervolume: list[float]
    recommendation: dict[str, Any] | None
    limits_violated: int
    channel_utilisation: float
    lab_time_h: float
    wall_s: float
    report: str | None
    status_reason: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON of CONTRACT."""
        plain = asdict(self)
        plain.pop("status_reason")
        return plain


def campaign_result(lab: Lab, name: str) -> CampaignResult:
    """Read a campaign's result from the store.

    Raises:
        CampaignError: if there is no such campaign.
    """
    campaign, trials = lab.store.campaign(name), lab.store.trials(name)
    ended = ended_with_outcome(trials)
    spec, point = campaign.spec, reference_point_of(campaign)
    report = lab.folder / "reports" / f"{name}.html"
    return CampaignResult(
        campaign=name,
        status=campaign.status,
        spec_version=campaign.spec_version,
        trials=[_trial_result(trial) for trial in trials],
        front=pareto_front(spec.objectives, spec.constraints, {t.number: t.outcome for t in ended}, point).trials,
        hypervolume=hypervolume_trace(spec.objectives, spec.constraints, [t.outcome for t in ended], point),
        recommendation=_last_recommendation(lab, name),
        limits_violated=lab.store.limits_violated(name),
        channel_utilisation=channel_utilisation(lab, campaign, trials),
        lab_time_h=lab_time_h(lab, campaign),
        wall_s=round(campaign.wall_s, 3),
        report=str(report) if report.exists() else None,
        status_reason=campaign.status_reason,
    )


def front_predicted(lab: Lab, name: str) -> list[int]:
    """Numbers on the front when the latest estimates count, whether measured or predicted."""
    campaign = lab.store.campaign(name)
    latest = {
        t.number: _as_measured(t.outcome) for t in lab.store.trials(name) if t.outcome and t.status is not TrialStatus.FAILED
    }
    spec = campaign.spec
    return pareto_front(spec.objectives, spec.constraints, latest, reference_point_of(campaign)).trials


def _as_measured(outcome: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {metric: replace(estimate, source="measured") for metric, estimate in outcome.items()}


def ended_with_outcome(trials: Iterable[Trial]) -> list[Trial]:
    """Trials that ended with a measured outcome, in the order they ended."""
    ended = [t for t in trials if t.status.ended and t.status is not TrialStatus.FAILED and t.measured]
    return sorted(ended, key=lambda t: (t.ended_h or 0.0, t.number))


def reference_point_of(campaign: CampaignRecord) -> dict[str, float] | None:
    """The reference point: the one fixed in the store, else the spec's thresholds if every objective has one."""
    if campaign.reference_point is not None:
        return campaign.reference_point
    thresholds = {o.metric: o.threshold for o in campaign.spec.objectives if o.threshold is not None}
    return thresholds if len(thresholds) == len(campaign.spec.objectives) else None


def lab_time_h(lab: Lab, campaign: CampaignRecord) -> float:
    """Lab time from the campaign's start to its end, or to now, hours."""
    end = campaign.ended_h if campaign.ended_h is not None else lab.clock.now_h()
    return max(0.0, end - campaign.started_h)


def channel_utilisation(lab: Lab, campaign: CampaignRecord, trials: Iterable[Trial]) -> float:
    """Busy channel time over the campaign's channels times its lab time."""
    names = set(lab.cyclers_for(campaign.spec))
    channels = sum(channel.cycler in names for channel in lab.store.channels())
    total = channels * lab_time_h(lab, campaign)
    return min(1.0, channel_hours(trials, lab.clock.now_h()) / total) if total > 0 else 0.0


def channel_hours(trials: Iterable[Trial], now_h: float) -> float:
    """Channel time used so far by trials, hours; a clock that was set back takes nothing away."""
    started = [t for t in trials if t.started_h is not None]
    return sum(max(0.0, (now_h if t.ended_h is None else t.ended_h) - (t.started_h or 0.0)) for t in started)


def last_choice(lab: Lab, name: str) -> tuple[str, Mapping[str, Any]] | None:
    """The latest recommendation in the store, or why there was none: its kind and data."""
    said = lab.store.events(name, limit=1, kinds=(RECOMMENDED, NOT_RECOMMENDED))
    return (said[-1].kind, said[-1].data) if said else None


def _last_recommendation(lab: Lab, name: str) -> dict[str, Any] | None:
    choice = last_choice(lab, name)
    if choice is None or choice[0] != RECOMMENDED:
        return None
    return {k: choice[1][k] for k in ("trial", "candidate", "expected", "preference")}


def _trial_result(trial: Trial) -> TrialResult:
    return TrialResult(
        number=trial.number,
        status=trial.status.value,
        candidate=dict(trial.candidate.parameters),
        channel=f"{trial.cycler}/{trial.channel}" if trial.channel else None,
        outcome={name: estimate_json(e) for name, e in trial.outcome.items()},
        stopped_because=trial.stopped_because,
        flag=trial.flag,
        decided_by=trial.decided_by,
    )


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate as the JSON shows it."""
    return {"mean": estimate.mean, "sem": estimate.sem, "source": estimate.source, "unit": estimate.unit or ""}
