"""What a report is made from, and the views of it that figures and tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.decision.limit_calibration import LimitCalibration
from orchestrator.decision.pareto import ParetoFront, feasible, is_measured
from orchestrator.decision.preference import describe_bounds
from orchestrator.decision.recommendation import Recommendation
from orchestrator.decision.wording import UNIT_SIGNS, label, unit
from orchestrator.domain import CampaignSpec, Estimate, Objective, OutcomeConstraint, Trial

Standing = Literal["front", "feasible", "infeasible", "predicted"]
ChannelUse = tuple[str, str, Sequence[tuple[int, float, float]]]
Event = tuple[float, str, int | None, str]


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; whoever holds the store fills it in.

    Attributes:
        status: `running`, `completed`, `stopped` or `needs_attention`, and why in `status_reason`.
        trials: every trial, in any state.
        units: by metric, where a metric's name does not end in its unit.
        hypervolume: one value per trial that ended with an outcome, in order of arrival.
        recommendation: the choice, or None; `no_recommendation` then says why there is none.
        posterior: what the surrogate believes, by trial number and metric.
        kernel_shares: by metric and group of features, the share of the variance explained, 0 to 1; none without groups.
        traces: by trial number, rows with `cycle_count` and `discharge_capacity_Ah` (Ah).
        channels: (cycler, channel, [(trial number, start_h, end_h)]), hours since the campaign's start.
        channel_utilisation: share of channel time in use, 0 to 1.
        started_h: lab time at which the campaign started, hours; events and ends of trials are told from there.
        lab_time_h, wall_s: what the campaign took in lab time, and what computing it took.
        limit_calibration: how well tests of safe metrics were foreseen, by bound.
        limits_violated: dispatched trials whose true value passed a safe limit.
        synthetic: the numbers come from models, and the report says so wherever it shows them.
        events: (lab_time_h, kind, trial number or None, text), those worth a reader's time.
        provenance: versions, hashes, seeds by name.
        generated_at: when the report was written, as text.
    """

    spec: CampaignSpec
    status: str
    trials: Sequence[Trial] = ()
    status_reason: str | None = None
    units: Mapping[str, str | None] = field(default_factory=dict)
    front: ParetoFront | None = None
    hypervolume: Sequence[float] = ()
    recommendation: Recommendation | None = None
    no_recommendation: str | None = None
    posterior: Mapping[int, Mapping[str, Estimate]] = field(default_factory=dict)
    kernel_shares: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    traces: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    channels: Sequence[ChannelUse] = ()
    channel_utilisation: float = 0.0
    started_h: float = 0.0
    lab_time_h: float = 0.0
    wall_s: float = 0.0
    limits_violated: int = 0
    limit_calibration: Sequence[LimitCalibration] = ()
    synthetic: bool = False
    events: Sequence[Event] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    spec_version: int = 1
    generated_at: str = ""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is wanted."""
        return self.spec.objectives

    @property
    def recommended(self) -> int | None:
        """The number of the recommended trial."""
        return self.recommendation.trial if self.recommendation is not None else None

    @property
    def ordered(self) -> list[Trial]:
        """The trials by number."""
        return sorted(self.trials, key=lambda trial: trial.number)

    def unit(self, metric: str) -> str:
        """A metric's unit: as given, as an estimate states it, or as the name ends."""
        given = self.units.get(metric)
        return UNIT_SIGNS.get(given, given) if given else unit(metric, [t.outcome.get(metric) for t in self.trials])

    def axis(self, metric: str) -> str:
        """A metric's name and unit, such as "charge time (min)"."""
        sign = self.unit(metric)
        return f"{label(metric)} ({sign})" if sign else label(metric)

    def constraint(self, metric: str) -> OutcomeConstraint | None:
        """The bound on a metric, if there is one."""
        return next((c for c in self.spec.constraints if c.metric == metric), None)

    def limit_text(self, constraint: OutcomeConstraint) -> str:
        """A constraint in words, such as "maximum temperature <= 40 °C"."""
        return describe_bounds(constraint, label(constraint.metric), self.unit(constraint.metric))

    def candidate_text(self, trial: Trial) -> str:
        """A trial's candidate in one line, with units."""
        return trial.candidate.describe(self.spec.space.units)

    def standing(self, trial: Trial) -> Standing | None:
        """Where a trial stands among the others; None while an objective has no estimate at all."""
        if any(o.metric not in trial.outcome for o in self.objectives):
            return None
        if not all(is_measured(trial.outcome[o.metric]) for o in self.objectives):
            return "predicted"
        if not feasible(self.spec.constraints, trial.outcome):
            return "infeasible"
        return "front" if self.front is not None and trial.number in self.front.trials else "feasible"
