"""The faults that strike one run, in its own test time."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.peers.device_faults import cut
from adapters.peers.injected_faults import CELL_FAULTS, InjectedFault
from adapters.simulated.ageing import Age
from adapters.simulated.cell_faults import struck


@dataclass(frozen=True)
class RunFaults:
    """The plan in force when a run started, as it was journalled with the run.

    Attributes:
        channel, started_h: where the run is, and since which lab time.
        plan: faults in lab time.
    """

    channel: str = ""
    started_h: float = 0.0
    plan: tuple[InjectedFault, ...] = ()

    @property
    def of_cell(self) -> tuple[InjectedFault, ...]:
        """Those that change the cell, in the order they strike."""
        mine = [fault for fault in self.plan if fault.kind in CELL_FAULTS and fault.at_h >= self.started_h]
        return tuple(sorted(mine, key=lambda fault: fault.at_h))

    def test_s(self, lab_h: float) -> float:
        """Test time at a lab time."""
        return (lab_h - self.started_h) * 3600

    def next_of_cell_s(self, struck_before: int) -> float | None:
        """Test time of the next fault of the cell, after as many as have struck before; None if there is none."""
        coming = self.of_cell[struck_before : struck_before + 1]
        return self.test_s(coming[0].at_h) if coming else None

    def strike(self, age: Age, struck_before: int, until_s: float) -> tuple[Age, int, float]:
        """Let every fault of the cell up to a test time strike; the age, how many have struck in all, and when the last did."""
        at_s = 0.0
        for fault in self.of_cell[struck_before:]:
            if self.test_s(fault.at_h) > until_s:
                break
            age, struck_before, at_s = struck(age, fault), struck_before + 1, self.test_s(fault.at_h)
        return age, struck_before, at_s

    def cut(self) -> tuple[float, str] | None:
        """Test time at which the device ends the run, and why; None if it does not."""
        end = cut(self.plan, self.channel, self.started_h)
        return None if end is None else (self.test_s(end.at_h), end.reason)
