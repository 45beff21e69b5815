"""What a person prefers among the trials of a front, as a statement that can be checked, described and typed.

An epsilon-constraint limits every objective but one and optimises that one (Haimes, 1971): it can reach every point of
a front. A weighted sum cannot reach the concave parts of a front, however the weights are chosen (Das and Dennis, 1997).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from orchestrator.decision.wording import label, listing, number
from orchestrator.domain import CampaignSpec, Fault, Objective, OutcomeConstraint, SpecError
from orchestrator.domain.value import value

CONFIDENCE = 0.95


def _confidence_faults(confidence: float) -> list[Fault]:
    good = 0 < confidence < 1
    return [] if good else [Fault("confidence", f"is a probability between 0 and 1 (got {confidence:g}).", "0.95 is usual.")]


@value
class EpsilonConstraint:
    """Keep every limit with probability >= `confidence`; among what does, take the best in the objective not limited.

    A limit is an upper bound for a minimised metric or a constraint with `upper`, a lower bound for a maximised one or a
    constraint with `lower` alone. Where several objectives are left unlimited, or none, the first of them is optimised.
    """

    limits: dict[str, float]
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        faults = _confidence_faults(self.confidence)
        if not self.limits:
            faults.append(Fault("limits", "is empty.", 'Limit at least one metric, such as {"charge_time_min": 30}.'))
        if faults:
            raise SpecError(faults)

    def describe(self, spec: CampaignSpec | None = None) -> str:
        """The preference in words; with the spec, the direction of each limit and what is optimised."""
        sure = f"with probability >= {self.confidence:g}"
        if spec is None:
            return f"keep the limits {listing(f'{m} = {x:g}' for m, x in self.limits.items())} {sure}"
        goal = self.optimised(spec)
        return f"{goal.goal} {goal.metric} subject to {self.describe_limits(spec)} {sure}"

    def describe_limits(self, spec: CampaignSpec) -> str:
        """The limits alone, such as "charge_time_min <= 30"."""
        return listing(describe_bounds(bound) for bound in self.bounds(spec))

    def bounds(self, spec: CampaignSpec) -> tuple[OutcomeConstraint, ...]:
        """Each limit as a bound in the direction that the spec gives it.

        Raises:
            SpecError: for a metric that is neither an objective nor a constraint of the spec.
        """
        return tuple(_bound(metric, limit, spec) for metric, limit in self.limits.items())

    def optimised(self, spec: CampaignSpec) -> Objective:
        """The objective that is optimised: the first one not limited, or the first of all."""
        return next((o for o in spec.objectives if o.metric not in self.limits), spec.objectives[0])


@value
class WeightedSum:
    """Weigh the objectives against one another, each scaled from 0 at the nadir to 1 at the ideal of the front.

    Objectives without a weight count nothing. Constraints must hold with probability >= `confidence`.
    """

    weights: dict[str, float]
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        faults = _confidence_faults(self.confidence)
        faults += [Fault(f"weights.{m}", f"must be >= 0 (got {w:g}).") for m, w in self.weights.items() if w < 0]
        if not any(w > 0 for w in self.weights.values()):
            faults.append(Fault("weights", "holds no positive weight.", 'Give some, such as {"cycle_life": 1}.'))
        if faults:
            raise SpecError(faults)

    @property
    def shares(self) -> dict[str, float]:
        """The weights, scaled to sum to 1."""
        total = sum(self.weights.values())
        return {metric: weight / total for metric, weight in self.weights.items()}

    def describe(self, spec: CampaignSpec | None = None) -> str:
        """The preference in words; the spec is not needed, and taken so that both kinds are described alike."""
        terms = " + ".join(f"{number(share)} {metric}" for metric, share in self.shares.items())
        return f"best weighted sum of the scaled objectives, {terms}"


Preference = EpsilonConstraint | WeightedSum


def describe_bounds(bound: OutcomeConstraint, name: str | None = None, sign: str = "") -> str:
    """A bound in words, such as "charge_time_min <= 30", or with a name and unit of its own "charge time <= 30 min"."""
    name, after = name or bound.metric, f" {sign}" if sign else ""
    if bound.lower is not None and bound.upper is not None:
        return f"{bound.lower:g} <= {name} <= {bound.upper:g}{after}"
    if bound.upper is not None:
        return f"{name} <= {bound.upper:g}{after}"
    return f"{name} >= {bound.lower:g}{after}"


def _bound(metric: str, limit: float, spec: CampaignSpec) -> OutcomeConstraint:
    objective = next((o for o in spec.objectives if o.metric == metric), None)
    constraint = next((c for c in spec.constraints if c.metric == metric), None)
    if objective is None and constraint is None:
        raise SpecError(unknown_metric("limits", metric, spec.metrics))
    upper = not objective.maximize if objective is not None else constraint is not None and constraint.upper is not None
    return OutcomeConstraint(metric, upper=limit) if upper else OutcomeConstraint(metric, lower=limit)


def unknown_metric(where: str, metric: str, known: Iterable[str]) -> Fault:
    """The fault of a preference on a metric that the campaign does not have."""
    return Fault(f"{where}.{metric}", "is not a metric of this campaign.", f"Known: {', '.join(known)}.")


def check_preference(preference: Preference | None, spec: CampaignSpec) -> None:
    """Refuse a preference that names what the campaign does not have.

    Raises:
        SpecError: with every fault.
    """
    if isinstance(preference, EpsilonConstraint):
        where, given, known = "limits", preference.limits, spec.metrics
    elif isinstance(preference, WeightedSum):
        where, given, known = "weights", preference.weights, tuple(o.metric for o in spec.objectives)
    else:
        return
    faults = [unknown_metric(where, metric, known) for metric in given if metric not in known]
    if faults:
        raise SpecError(faults)


_LIMIT = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(\S+)\s*\Z")
_WEIGHT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\S+)\s*\Z")


def parse_epsilon(text: str, spec: CampaignSpec | None = None, confidence: float = CONFIDENCE) -> EpsilonConstraint:
    """Read `"charge_time_min<=30,cycle_life>=500"`.

    Args:
        text: limits, parted by commas.
        spec: checks metrics and directions where given.
        confidence: probability with which the limits must hold.

    Raises:
        SpecError: with every fault of the text.
    """
    signs: dict[str, str] = {}
    limits: dict[str, float] = {}
    faults: list[Fault] = []
    for part in _parts(text, "epsilon", 'Write limits such as "charge_time_min<=30".'):
        read = _LIMIT.match(part)
        if read is None:
            faults.append(Fault("epsilon", f"'{part.strip()}' is not a limit.", 'Write "metric<=number" or "metric>=number".'))
            continue
        metric, signs[read[1]], shown = read[1], read[2][0], read[3]
        faults += _put(limits, metric, shown, "epsilon")
    if spec is not None:
        faults += _direction_faults(limits, signs, spec)
    if faults:
        raise SpecError(faults)
    return EpsilonConstraint(limits, confidence)


def _direction_faults(limits: Mapping[str, float], signs: Mapping[str, str], spec: CampaignSpec) -> list[Fault]:
    faults = []
    for metric, limit in limits.items():
        if metric not in spec.metrics:
            faults.append(unknown_metric("epsilon", metric, spec.metrics))
            continue
        wanted = "<" if _bound(metric, limit, spec).upper is not None else ">"
        if signs[metric] != wanted:
            better = "Less" if wanted == "<" else "More"
            problem = f"{better} {label(metric)} is better in this campaign, so '{signs[metric]}=' would limit nothing."
            faults.append(Fault(f"epsilon.{metric}", problem, f'Write "{metric}{wanted}={limit:g}".'))
    return faults


def parse_weights(text: str, spec: CampaignSpec | None = None, confidence: float = CONFIDENCE) -> WeightedSum:
    """Read `"charge_time_min=1,cycle_life=2"`.

    Args:
        text: weights, parted by commas.
        spec: checks metrics where given.
        confidence: probability with which the campaign's constraints must hold.

    Raises:
        SpecError: with every fault of the text.
    """
    weights: dict[str, float] = {}
    faults: list[Fault] = []
    for part in _parts(text, "weights", 'Write weights such as "charge_time_min=1,cycle_life=2".'):
        read = _WEIGHT.match(part)
        if read is None:
            faults.append(Fault("weights", f"'{part.strip()}' is not a weight.", 'Write "metric=number".'))
            continue
        faults += _put(weights, read[1], read[2], "weights")
    if faults:
        raise SpecError(faults)
    preference = WeightedSum(weights, confidence)
    if spec is not None:
        check_preference(preference, spec)
    return preference


def _parts(text: str, where: str, remedy: str) -> list[str]:
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise SpecError(Fault(where, "is empty.", remedy))
    return parts


def _put(table: dict[str, float], metric: str, shown: str, where: str) -> list[Fault]:
    """Read a number into a table, or say why not."""
    if metric in table:
        return [Fault(f"{where}.{metric}", "is given twice.", "Keep one.")]
    try:
        table[metric] = float(shown)
    except ValueError:
        return [Fault(f"{where}.{metric}", f"needs a number (got '{shown}').")]
    return []
