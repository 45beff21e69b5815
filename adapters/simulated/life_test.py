"""A whole life test: check-ups simulated one after the other, the ageing law stepping between them.

Each check-up carries all that the next one needs, so a test goes on from any of them, in any process, to the same end.

A check-up begins rested at the full voltage (at the empty one, if its protocol charges first) and ends with the protocol's
last step. So it takes out 2 to 4 mAh more than it puts back: its coulombic efficiency, slightly above one, means nothing. A
charge that ends by time and leaves a cell short of full is felt by the next check-up, which begins so much emptier.

A check-up protocol of its own follows the cycle, from the same rest. What little it ages the cell is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from adapters.simulated import ageing
from adapters.simulated.ageing import Age, Pace, Stress
from adapters.simulated.cell_parameters import rested_voltage_V
from adapters.simulated.cell_presets import preset_for
from adapters.simulated.cell_steps import Array, Cause, CyclingCell
from adapters.simulated.checkup_cycle import (
    BreakOff,
    Circumstances,
    SimulatedCycle,
    followed_by,
    simulate_checkup,
    simulate_cycle,
)
from adapters.simulated.experiment import begins_with_charge, plan_checkup, plan_cycle
from adapters.simulated.instrument import Instrument, InstrumentSettings
from adapters.simulated.run_faults import RunFaults
from adapters.simulated.seeding import generator
from orchestrator.domain import RunRequest, RunState, SafetyLimits

ALWAYS_CHECKED = (10, 100)
# A test ends this far below the end of life, so that neither noise nor interpolation brings the last capacity back above it.
CLEARLY_BELOW_AH = 1e-3
SURELY_UNCHARGED = 0.01  # share of the nominal capacity
DEVICE = "device"  # the cause of an end that the cycler, not the cell or its model, brought about


@dataclass(frozen=True)
class CheckUp:
    """One recorded cycle, free of noise.

    Attributes:
        index: from 0, in the order recorded.
        start_s, duration_s: test time at which the cycle begins, and its length.
        capacity_Ah: all charge taken out in the cycle.
        age, stress: the cell as the cycle found it, and what the cycle did to it.
        samples: columns of the cycle, see `SimulatedCycle`.
        broken: why the cycle broke off, or None.
        struck: how many faults of the cell have struck so far.
        reference_s: how long the check-up protocol took after the cycle; None if none was begun.
        uncharged_Ah: what the cycle's charge left out of a full cell: the next recorded cycle begins so much emptier.
    """

    index: int
    start_s: float
    duration_s: float
    capacity_Ah: float
    age: Age
    stress: Stress
    samples: dict[str, Array]
    broken: BreakOff | None = None
    struck: int = 0
    reference_s: float | None = None
    uncharged_Ah: float = 0.0

    @property
    def cycle(self) -> int:
        """The cycle's number, from 1."""
        return self.age.cycle

    @property
    def end_s(self) -> float:
        """Test time at which the cycle ended, and the check-up protocol after it."""
        return self.start_s + self.duration_s + (self.reference_s or 0.0)


@dataclass(frozen=True)
class LifeEnd:
    """How a test ended, and at what test time; `cause` is what kind of thing broke it off (a `Cause`), or None."""

    state: RunState
    reason: str
    end_s: float
    cycles: int
    safety: bool = False
    cause: str | None = None


class LifeTest:
    """The test of one cell under one request, measured by `instrument`; `faults` strike it on the way."""

    def __init__(
        self,
        request: RunRequest,
        seed: int,
        cell: CyclingCell,
        faults: RunFaults | None = None,
        instrument: InstrumentSettings | None = None,
    ) -> None:
        preset = preset_for(request.cell.name)
        self._request, self._seed, self._cell = request, seed, cell
        self._faults, self._instrument = faults or RunFaults(), instrument
        self._preset, self._law = preset, preset.law
        self._plan = plan_cycle(request.protocol, preset.parameters)
        self._checkup_plan = plan_checkup(request.checkup, preset.parameters) if request.checkup else []
        self._charge_first = begins_with_charge(request.protocol, preset.parameters)
        self._rest_V = request.cell.min_voltage_V if self._charge_first else request.cell.max_voltage_V
        self._individual = ageing.manufacture(generator(seed, request.key, "cell"), self._law)

    def run(self, after: CheckUp | None = None) -> Iterator[CheckUp | LifeEnd]:
        """Check-ups in order, then the end; with `after`, those that follow it."""
        checkup = after
        while checkup is None or (end := self.end_after(checkup)) is None:
            coming = self._with_checkup(self._first() if checkup is None else self._following(checkup))
            end = self._cut_before(checkup, coming)
            if end is not None:
                break
            checkup = coming
            yield checkup
        yield end

    def _cut_before(self, last: CheckUp | None, coming: CheckUp) -> LifeEnd | None:
        """How the device ended the test before a check-up was over, if it did."""
        cut = self._faults.cut()
        if cut is None or cut[0] >= coming.end_s:
            return None
        cycle, end_s = (last.cycle, last.end_s) if last else (0, 0.0)
        share = (cut[0] - end_s) / (coming.end_s - end_s)
        return LifeEnd(RunState.FAILED, cut[1], cut[0], cycle + int(share * (coming.cycle - cycle)), cause=DEVICE)

    def end_after(self, checkup: CheckUp) -> LifeEnd | None:
        """Whether the test ended with a check-up, and why; one that broke off after its cycle may do so, too."""
        broken, whole = checkup.broken, checkup.broken is None or checkup.reference_s is not None
        finish = self._finish(checkup) if whole else None
        if broken is None:
            return finish
        if finish is not None:
            return replace(finish, reason=f"{finish.reason}; the check-up after it broke off: {broken.reason}")
        state, cycles = RunState.STOPPED if broken.safety else RunState.FAILED, checkup.cycle if whole else checkup.cycle - 1
        return LifeEnd(state, f"cycle {checkup.cycle}: {broken.reason}", checkup.end_s, cycles, broken.safety, broken.kind)

    def _finish(self, checkup: CheckUp) -> LifeEnd | None:
        """The end of a test whose last cycle this one is, if it is."""
        request, cycle = self._request, checkup.cycle
        if self._below(checkup):
            reason = f"the capacity of cycle {cycle} ({checkup.capacity_Ah:.4g} Ah) is below {request.end_of_life_Ah:.4g} Ah"
            return LifeEnd(RunState.FINISHED, reason, checkup.end_s, cycle)
        if cycle >= request.max_cycles:
            return LifeEnd(RunState.FINISHED, f"all {request.max_cycles} cycles asked for are done", checkup.end_s, cycle)
        return None

    def _below(self, checkup: CheckUp) -> bool:
        """Whether the capacity is below the end of life, by the truth and by the instrument."""
        gain = Instrument(self._seed, self._request.key, checkup.cycle, self._instrument).gain
        return checkup.capacity_Ah * max(1.0, gain) < self._request.end_of_life_Ah

    def _first(self) -> CheckUp:
        age, struck, _ = self._faults.strike(ageing.begin(self._individual, self._law), 0, 0.0)
        checkup = replace(self._simulate(0, age, None), struck=struck)
        if checkup.broken is None and self._below(checkup):
            why = (
                f"the fresh cell gives only {checkup.capacity_Ah:.3g} Ah under this protocol, "
                f"less than the end of life {self._request.end_of_life_Ah:.3g} Ah. Charge and discharge it further"
            )
            return replace(checkup, broken=BreakOff(why, Cause.INFEASIBLE))
        return checkup

    def _following(self, last: CheckUp) -> CheckUp:
        pace = ageing.pace(self._individual, last.age, last.stress, self._law)
        cycle = self._next_cycle(last.cycle, pace)
        fault_s = self._faults.next_of_cell_s(last.struck)
        if fault_s is not None and (after_it := _first_cycle_after(last, fault_s)) <= cycle:
            return self._struck(after_it, fault_s, last, pace)
        following = self._at(cycle, last, pace)
        if following.broken is not None or not self._below(following):
            return following
        return self._end_between(last, following, pace) or following

    def _struck(self, cycle: int, fault_s: float, last: CheckUp, pace: Pace) -> CheckUp:
        """The check-up right after a fault of the cell, and after those that strike until it begins."""
        begins_s = last.end_s + (cycle - last.cycle - 1) * last.duration_s
        age = ageing.advance(self._individual, last.age, pace, cycle, self._law)
        age, struck, at_s = self._faults.strike(age, last.struck, max(fault_s, begins_s))
        checkup = self._simulate(last.index + 1, age, last)
        return replace(checkup, struck=struck, start_s=max(checkup.start_s, at_s))

    def _end_between(self, last: CheckUp, past: CheckUp, pace: Pace) -> CheckUp | None:
        """The cycle at which the capacity fell below the end of life, if it comes before `past`."""
        target_Ah = self._request.end_of_life_Ah - CLEARLY_BELOW_AH
        if past.capacity_Ah >= target_Ah:
            return None
        share = (last.capacity_Ah - target_Ah) / (last.capacity_Ah - past.capacity_Ah)
        cycle = last.cycle + math.ceil(share * (past.cycle - last.cycle))
        if not last.cycle < cycle < past.cycle:
            return None
        ended = self._at(cycle, last, pace)
        return ended if ended.broken is not None or self._below(ended) else None

    def _next_cycle(self, cycle: int, pace: Pace) -> int:
        step = min(ageing.longest_step(pace, self._law), self._request.checkup_every_cycles)
        return min(cycle + step, *(n for n in (*ALWAYS_CHECKED, self._request.max_cycles) if n > cycle))

    def _at(self, cycle: int, last: CheckUp, pace: Pace) -> CheckUp:
        return self._simulate(last.index + 1, ageing.advance(self._individual, last.age, pace, cycle, self._law), last)

    def _simulate(self, index: int, age: Age, last: CheckUp | None) -> CheckUp:
        uncharged_Ah = 0.0 if last is None else last.uncharged_Ah
        done = simulate_cycle(self._cell, self._plan, self._under(age, self._request.protocol.limits, uncharged_Ah))
        start_s = 0.0 if last is None else _start_s(last, age.cycle, done)
        struck = last.struck if last else 0
        cycle = CheckUp(index, start_s, done.duration_s, done.capacity_Ah, age, done.stress, done.samples, done.broken, struck)
        return cycle if done.broken else replace(cycle, uncharged_Ah=self._uncharged_Ah(done, uncharged_Ah))

    def _uncharged_Ah(self, done: SimulatedCycle, before_Ah: float) -> float:
        """What a charge that ends by time leaves out of a full cell; the few mAh by which any cycle misses its start are none."""
        if self._charge_first:
            return 0.0
        missing_Ah = before_Ah + float(done.samples["discharged_Ah"][-1] - done.samples["charged_Ah"][-1])
        return missing_Ah if missing_Ah > SURELY_UNCHARGED * self._law.nominal_capacity_Ah else 0.0

    def _with_checkup(self, checkup: CheckUp) -> CheckUp:
        """The same, followed by the check-up protocol if one is asked for."""
        asked = self._request.checkup
        if asked is None or checkup.broken is not None:
            return checkup
        cycle = SimulatedCycle(checkup.samples, checkup.duration_s, checkup.capacity_Ah, checkup.stress)
        spectra = checkup.index % self._request.impedance_every_checkups == 0
        done = simulate_checkup(self._cell, self._checkup_plan, self._under(checkup.age, asked.limits), spectra=spectra)
        return replace(checkup, samples=followed_by(cycle, done), reference_s=done.duration_s, broken=done.broken)

    def _under(self, age: Age, limits: SafetyLimits, uncharged_Ah: float = 0.0) -> Circumstances:
        contacts = generator(self._seed, self._request.key, f"contacts/{age.cycle}")
        state = replace(ageing.state_of(self._individual, age, contacts, self._law), leak_S=age.leak_S)
        rest_V = self._rest_V
        if uncharged_Ah > 0:
            rest_V = rested_voltage_V(self._preset.parameters, state, rest_V, uncharged_Ah)
        return Circumstances(self._preset, state, rest_V, self._request.ambient_temperature_degC, limits)


def _first_cycle_after(last: CheckUp, at_s: float) -> int:
    """The first cycle that begins after a test time, those in between taken to be as long as the last one."""
    return last.cycle + 1 + max(0, math.ceil((at_s - last.end_s) / last.duration_s))


def _start_s(last: CheckUp, cycle: int, done: SimulatedCycle) -> float:
    """When a cycle begins: the cycles between two check-ups change their length evenly."""
    cycles = cycle - last.cycle
    lengthening = 0.0 if done.broken is not None else done.duration_s - last.duration_s
    return last.end_s + (cycles - 1) * (last.duration_s + 0.5 * lengthening)
