"""What a scientist says of the surrogate: which features belong together."""

from __future__ import annotations

from collections import Counter
from dataclasses import field

from orchestrator.domain.candidate import CandidateTable
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.value import value

# The group of what no group names, and what groups do to a response together: names that no group may have.
OTHER, TOGETHER = "other", "together"


@value
class SurrogateSpec:
    """How the surrogate reads candidates.

    Attributes:
        groups: features of a table, or parameters of a space, by the name of their group: each group has a kernel of its own, and
            its share of the response's variance is reported. What is named nowhere forms the group `other`. None, or one group
            of everything: one kernel over all.
    """

    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [
            Fault(f"groups.{name}", "is a name that the report uses itself.", "Choose another.")
            for name in (OTHER, TOGETHER)
            if name in self.groups
        ]
        faults += [Fault("groups", "has a group without a name.", "Name it.") for name in self.groups if not name.strip()]
        faults += [
            Fault(f"groups.{name}", "is empty.", "Name its features, or leave it out.")
            for name, members in self.groups.items()
            if not members
        ]
        counts = Counter(feature for members in self.groups.values() for feature in members)
        faults += [
            Fault("groups", f"name '{feature}' {times} times.", "A feature belongs to one group.")
            for feature, times in counts.items()
            if times > 1
        ]
        if faults:
            raise SpecError(faults)

    def faults_in(self, space: SearchSpace | CandidateTable) -> list[Fault]:
        """What the groups name that the surrogate does not read of this space."""
        known = space.features if isinstance(space, CandidateTable) else tuple(p.name for p in space.inputs)
        return [
            Fault(f"surrogate.groups.{name}", f"names '{feature}', which is not learned from.", f"Known: {', '.join(known)}.")
            for name, members in self.groups.items()
            for feature in members
            if feature not in known
        ]
