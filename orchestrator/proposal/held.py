"""One value for all tests that run at once: what the lab has one of, such as a thermal chamber.

While tests run, proposals keep their value of every shared parameter. When none does, the first proposal of a batch sets it for
the rest. A chamber whose places are filled one by one would never be free to change, so once each place has had two tests at a
value, on average, the proposer is asked what it would do were the chamber empty; if it would go elsewhere, nothing is proposed
until the chamber is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.domain import CampaignSpec, Candidate, CandidateTable, Estimate, RangeParameter, SpecError
from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.domain.parameters import FreeParameter
from orchestrator.proposal.history import History, Point, Proposal, Proposer

Held = Mapping[str, ParameterValue]

TESTS_PER_PLACE = 2
# A share of a range: a chamber is not emptied for less.
_NEAR = 0.1
_KEPT = 8


def held_values(shared: Iterable[FreeParameter], points: Sequence[Point]) -> dict[str, ParameterValue]:
    """The values that tests under way have of shared parameters; of several the latest test's."""
    running = [point.candidate.parameters for point in points if point.pending]
    return {p.name: values[p.name] for values in running for p in shared if p.name in values}


class SharedValueProposer:
    """Proposals of any proposer, with one value of each shared parameter over all tests that run at once.

    Args:
        spec: of a campaign whose space has shared parameters.
        make: makes the proposer of a spec whose space may hold values.
    """

    def __init__(self, spec: CampaignSpec, make: Callable[[CampaignSpec], Proposer]) -> None:
        self.spec, self._make = spec, make
        self.shared = () if isinstance(spec.space, CandidateTable) else spec.space.shared
        self._views: OrderedDict[tuple[tuple[str, ParameterValue], ...], tuple[CampaignSpec, Proposer]] = OrderedDict()

    def propose(self, n: int, history: History) -> list[Proposal]:
        """At most n candidates to test next; none while the chamber is to be emptied for another value."""
        held = held_values(self.shared, history.points)
        if held and self._worth_emptying(n, history, held):
            return []
        found: list[Proposal] = []
        while len(found) < n:
            held = held_values(self.shared, history.points)
            settled = all(p.name in held for p in self.shared)
            new = self._holding(held, n - len(found) if settled else 1, history)
            if not new:
                break
            found += new
            history = replace(history, points=(*history.points, *(Point(p.candidate, pending=True) for p in new)))
        return found

    def predict(self, candidates: Sequence[Candidate], history: History) -> list[dict[str, Estimate]]:
        """The belief about candidates, whatever is held."""
        return self._view({})[1].predict(candidates, history)

    def _holding(self, held: Held, n: int, history: History) -> list[Proposal]:
        """Proposals that keep the held values; none where tests under way leave nothing else to propose."""
        try:
            spec, proposer = self._view(held)
            found = proposer.propose(n, replace(history, spec=spec))
        except (NeedsPersonError, SpecError):
            if any(point.pending for point in history.points):
                return []
            raise
        return [replace(p, decision={**p.decision, "held": dict(held)}) for p in found] if held else found

    def _worth_emptying(self, n: int, history: History, held: Held) -> bool:
        """Whether the places have had their tests at this value, and the next test would best be elsewhere."""
        under_way = sum(point.pending for point in history.points)
        if _in_a_row(history.points, held) + n <= TESTS_PER_PLACE * (under_way + n):
            return False
        wanted = self._holding({}, 1, history)
        return any(not _near(p, wanted[0].candidate, held) for p in self.shared) if wanted else False

    def _view(self, held: Held) -> tuple[CampaignSpec, Proposer]:
        """The campaign with these values held, and its proposer; made once for each."""
        key = tuple(sorted(held.items()))
        if key not in self._views:
            space = self.spec.space if isinstance(self.spec.space, CandidateTable) else self.spec.space.holding(held)
            spec = replace(self.spec, space=space) if held else self.spec
            self._views[key] = spec, self._make(spec)
        self._views.move_to_end(key)
        while len(self._views) > _KEPT:
            self._views.popitem(last=False)
        return self._views[key]


def _in_a_row(points: Sequence[Point], held: Held) -> int:
    """How many of the latest tests had the held values."""
    count = 0
    for point in reversed(points):
        if any(point.candidate.parameters.get(name, given) != given for name, given in held.items()):
            break
        count += 1
    return count


def _near(parameter: FreeParameter, candidate: Candidate, held: Held) -> bool:
    if parameter.name not in held or parameter.name not in candidate.parameters:
        return True
    wanted, kept = candidate.parameters[parameter.name], held[parameter.name]
    if isinstance(parameter, RangeParameter):
        return abs(float(wanted) - float(kept)) <= _NEAR * (parameter.upper - parameter.lower)
    return wanted == kept
