"""The one trial to take, by a stated preference, with the probability that its limits hold.

Trials are judged by the surrogate's posterior, which shares strength between neighbours and replicates; picking by the
best single measurement would pick luck. A trial is feasible when the probability that every constraint and every limit
holds, from normal tails taken as independent, reaches the confidence asked for.

Without a preference one objective takes the best posterior mean, and several take the knee: among the feasible
non-dominated trials, each objective scaled from 0 at the nadir to 1 at the ideal, the trial whose worst objective is best
(Chebyshev; it exists on convex and concave fronts alike). It is stated as an epsilon-constraint: every objective but the
last is limited at what the knee keeps with the confidence asked for, and the last is optimised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from orchestrator.decision.pareto import is_measured, non_dominated_mask
from orchestrator.decision.preference import (
    CONFIDENCE,
    EpsilonConstraint,
    Preference,
    WeightedSum,
    check_preference,
    describe_bounds,
)
from orchestrator.decision.wording import label, listing, outward, quantity, unit
from orchestrator.domain import CampaignSpec, Candidate, Estimate, Objective, OutcomeConstraint, VoltloopError

# Limits that were computed to be kept with exactly the confidence must not fail by rounding.
PROBABILITY_SLACK = 1e-5
CONCAVE_WARNING = "warning: a weighted sum cannot reach the concave parts of a front, an epsilon-constraint can"


class NoFeasibleChoiceError(VoltloopError):
    """No trial can be recommended under the preference.

    Attributes:
        nearest: the nearest preference that some trial does keep, where there is one.
    """

    def __init__(self, message: str, nearest: Preference | None = None) -> None:
        self.nearest = nearest
        super().__init__(message)


@dataclass(frozen=True)
class Tested:
    """A trial as the choice sees it: what was measured, and what the surrogate believes of its candidate."""

    number: int
    candidate: Candidate
    posterior: dict[str, Estimate] = field(default_factory=dict)
    measured: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Recommendation:
    """A choice and its reason.

    Attributes:
        candidate: what to take.
        expected: its estimates by metric, as they were judged.
        preference: what was asked for, in words.
        why: one sentence a person can defend.
        trial: the number of the trial that tested it; None for an untested candidate.
    """

    candidate: Candidate | None
    expected: dict[str, Estimate]
    preference: str
    why: str
    trial: int | None


@dataclass(frozen=True)
class _Judged:
    tested: Tested
    expected: dict[str, Estimate]


def recommend(
    spec: CampaignSpec, tested: Sequence[Tested], preference: Preference | None = None, confidence: float = CONFIDENCE
) -> Recommendation:
    """Choose among the trials whose every metric has been measured.

    Args:
        spec: objectives and constraints.
        tested: trials that ended, in any order.
        preference: what is wanted; None takes the best mean of one objective, the knee of several.
        confidence: with no preference, the probability with which constraints must hold.

    Raises:
        SpecError: if the preference names a metric that the spec does not have.
        NoFeasibleChoiceError: if no trial keeps the constraints and limits; names the nearest that is kept.
    """
    check_preference(preference, spec)
    complete = [
        _judged(t, spec.metrics) for t in tested if all(m in t.measured and is_measured(t.measured[m]) for m in spec.metrics)
    ]
    sure = preference.confidence if preference is not None else confidence
    kept = _constrained(spec, complete, sure)
    if preference is None and len(spec.objectives) > 1:
        return _by_limits(spec, kept, knee(spec, kept, confidence), because_of_knee=True)
    if isinstance(preference, EpsilonConstraint):
        return _by_limits(spec, kept, preference)
    if isinstance(preference, WeightedSum):
        return _by_weights(spec, kept, preference)
    return _by_mean(spec, kept, confidence)


def probability_that_all_hold(bounds: Iterable[OutcomeConstraint], expected: Mapping[str, Estimate]) -> float:
    """The probability that estimates keep every bound, as independent normal variables."""
    return math.prod(_probability(bound, expected[bound.metric]) for bound in bounds)


def _probability(bound: OutcomeConstraint, estimate: Estimate) -> float:
    if estimate.sem == 0:
        return float(bound.holds(estimate.mean))
    normal = NormalDist(estimate.mean, estimate.sem)
    below = 1.0 if bound.upper is None else normal.cdf(bound.upper)
    return below - (0.0 if bound.lower is None else normal.cdf(bound.lower))


def _judged(tested: Tested, metrics: Iterable[str]) -> _Judged:
    expected = {}
    for metric in metrics:
        measured, posterior = tested.measured[metric], tested.posterior.get(metric)
        expected[metric] = (
            measured
            if posterior is None
            else Estimate(posterior.mean, posterior.sem, posterior.source, posterior.unit or measured.unit)
        )
    return _Judged(tested, expected)


def _constrained(spec: CampaignSpec, complete: list[_Judged], confidence: float) -> list[_Judged]:
    """Those that keep the campaign's own constraints."""
    if not complete:
        raise NoFeasibleChoiceError(f"no trial has measured {listing(spec.metrics)} yet, so there is nothing to choose from.")
    chances = [probability_that_all_hold(spec.constraints, j.expected) for j in complete]
    kept = [j for j, chance in zip(complete, chances, strict=True) if chance >= confidence - PROBABILITY_SLACK]
    if not kept:
        best = int(np.argmax(chances))
        raise NoFeasibleChoiceError(
            f"no trial keeps {_texts(spec.constraints)} with probability >= {confidence:g}; the nearest is trial "
            f"{complete[best].tested.number}, with probability {chances[best]:.2g}. Test more, or accept a lower confidence."
        )
    return kept


def knee(spec: CampaignSpec, kept: Sequence[_Judged], confidence: float = CONFIDENCE) -> EpsilonConstraint:
    """The knee of a front of several objectives, as limits that its trial keeps with the confidence asked for."""
    front = _front(spec, kept)
    scaled = _scaled(spec, front, front)
    best = front[max(range(len(front)), key=lambda i: (scaled[i].min(), scaled[i].sum(), -front[i].tested.number))]
    limited = spec.objectives[:-1]
    share = (confidence / probability_that_all_hold(spec.constraints, best.expected)) ** (1 / len(limited))
    return EpsilonConstraint({o.metric: _kept_limit(best.expected[o.metric], o.maximize, share) for o in limited}, confidence)


def _kept_limit(estimate: Estimate, lower: bool, probability: float) -> float:
    """The strictest limit, rounded outward, that an estimate keeps with a probability."""
    away = NormalDist().inv_cdf(min(max(probability, 0.5), 1 - 1e-6)) * estimate.sem
    return outward(estimate.mean + (-away if lower else away), upper=not lower)


def _front(spec: CampaignSpec, kept: Sequence[_Judged]) -> list[_Judged]:
    mask = non_dominated_mask(_gains(spec, kept), [True] * len(spec.objectives))
    return [j for j, stands in zip(kept, mask, strict=True) if stands]


def _gains(spec: CampaignSpec, kept: Sequence[_Judged]) -> NDArray[np.float64]:
    return np.array([[o.sign * j.expected[o.metric].mean for o in spec.objectives] for j in kept])


def _scaled(spec: CampaignSpec, kept: Sequence[_Judged], front: Sequence[_Judged]) -> NDArray[np.float64]:
    """Objectives scaled from 0 at the nadir of the front to 1 at its ideal, shape (n, m)."""
    corner = _gains(spec, front)
    ideal, extent = corner.max(axis=0), np.ptp(corner, axis=0)
    scaled: NDArray[np.float64] = 1 + (_gains(spec, kept) - ideal) / np.where(extent > 0, extent, np.maximum(np.abs(ideal), 1.0))
    return scaled


def _best(spec: CampaignSpec, kept: Sequence[_Judged], score: Sequence[float]) -> _Judged:
    """The highest score; ties go to what is better in the other objectives, then to the stronger evidence, then to the first."""
    others = _scaled(spec, kept, _front(spec, kept)).sum(axis=1)

    def rank(i: int) -> tuple[float, float, float, int]:
        return (score[i], float(others[i]), -sum(e.sem for e in kept[i].expected.values()), -kept[i].tested.number)

    return kept[max(range(len(kept)), key=rank)]


def _by_mean(spec: CampaignSpec, kept: list[_Judged], confidence: float) -> Recommendation:
    goal = spec.objectives[0]
    best = _best(spec, kept, [goal.sign * j.expected[goal.metric].mean for j in kept])
    held = f" that keep {_in_words(spec.constraints, best)} with probability >= {confidence:g}" if spec.constraints else ""
    judged = f"the best expected {label(goal.metric)}"
    why = f"{_states(spec, best)}: {judged} of {_count(kept, 'measured trial')}{held}."
    return _recommendation(best, f"{goal.goal} {goal.metric}", why)


def _by_limits(
    spec: CampaignSpec, kept: list[_Judged], preference: EpsilonConstraint, because_of_knee: bool = False
) -> Recommendation:
    bounds = preference.bounds(spec)
    within = [
        j
        for j in kept
        if probability_that_all_hold((*spec.constraints, *bounds), j.expected) >= preference.confidence - PROBABILITY_SLACK
    ]
    if not within:
        raise _refused(spec, kept, preference)
    goal = preference.optimised(spec)
    best = _best(spec, within, [goal.sign * j.expected[goal.metric].mean for j in within])
    limits = f"{_in_words(bounds, best)} with probability >= {preference.confidence:g}"
    why = f"{_states(spec, best)}; {_alone(limits, goal, within, kept)}{_KNEE if because_of_knee else ''}."
    return _recommendation(best, preference.describe(spec), why)


_KNEE = " (no preference was stated: the limit is where the front has its knee)"


def _alone(limits: str, goal: Objective, within: Sequence[_Judged], kept: Sequence[_Judged]) -> str:
    of = f"of {_count(kept, 'feasible trial')}"
    if len(within) == 1:
        return f"{of} it is the only one that keeps {limits}"
    return f"{of} no other keeps {limits} and has a {'higher' if goal.maximize else 'lower'} {label(goal.metric)}"


def _refused(spec: CampaignSpec, kept: Sequence[_Judged], preference: EpsilonConstraint) -> NoFeasibleChoiceError:
    """Say which limits the nearest trial would keep."""
    options = [(_nearest(spec, j, preference), j.tested.number) for j in kept]
    extent = {m: float(np.ptp([j.expected[m].mean for j in kept])) or abs(x) or 1.0 for m, x in preference.limits.items()}
    nearest, trial = min(options, key=lambda o: max(abs(o[0].limits[m] - x) / extent[m] for m, x in preference.limits.items()))
    return NoFeasibleChoiceError(
        f"no trial keeps {preference.describe_limits(spec)} with probability >= {preference.confidence:g}. The nearest "
        f"preference that is kept is {nearest.describe_limits(spec)} (trial {trial}). Widen the limit to it, or accept a "
        "lower confidence.",
        nearest,
    )


def _nearest(spec: CampaignSpec, judged: _Judged, preference: EpsilonConstraint) -> EpsilonConstraint:
    """The given limits, each widened to what one trial keeps."""
    constraints = probability_that_all_hold(spec.constraints, judged.expected)
    share = (preference.confidence / constraints) ** (1 / len(preference.limits))
    limits = {}
    for bound in preference.bounds(spec):
        lower, given = bound.lower is not None, preference.limits[bound.metric]
        kept = _kept_limit(judged.expected[bound.metric], lower, share)
        limits[bound.metric] = min(kept, given) if lower else max(kept, given)
    return EpsilonConstraint(limits, preference.confidence)


def _by_weights(spec: CampaignSpec, kept: list[_Judged], preference: WeightedSum) -> Recommendation:
    weights = np.array([preference.shares.get(o.metric, 0.0) for o in spec.objectives])
    best = _best(spec, kept, (_scaled(spec, kept, _front(spec, kept)) @ weights).tolist())
    terms = " + ".join(f"{weight:.3g} {label(metric)}" for metric, weight in preference.shares.items())
    of = f"of {_count(kept, 'feasible trial')} it has the best weighted sum of objectives scaled from nadir to ideal ({terms})"
    warning = f"; {CONCAVE_WARNING}" if len(spec.objectives) > 1 else ""
    return _recommendation(best, preference.describe(spec), f"{_states(spec, best)}; {of}{warning}.")


def _recommendation(best: _Judged, preference: str, why: str) -> Recommendation:
    return Recommendation(best.tested.candidate, best.expected, preference, why, best.tested.number)


def _states(spec: CampaignSpec, best: _Judged) -> str:
    """Say what is expected, such as "Trial 17 has a charge time of 21.3 min and a cycle life of 640 ± 60 cycles"."""
    named = [o.metric for o in spec.objectives]
    parts = [f"{label(m)} of {quantity(m, best.expected[m], unit(m, [best.tested.measured[m]]))}" for m in named]
    return f"Trial {best.tested.number} has {listing(f'an {p}' if p[0] in 'aeiou' else f'a {p}' for p in parts)}"


def _count(judged: Sequence[_Judged], noun: str) -> str:
    return f"{len(judged)} {noun}{'' if len(judged) == 1 else 's'}"


def _in_words(bounds: Iterable[OutcomeConstraint], judged: _Judged) -> str:
    """Bounds for readers, with units, such as "charge time <= 30 min"."""
    return listing(describe_bounds(b, label(b.metric), unit(b.metric, [judged.tested.measured[b.metric]])) for b in bounds)


def _texts(constraints: Iterable[OutcomeConstraint]) -> str:
    return listing(describe_bounds(c) for c in constraints)
