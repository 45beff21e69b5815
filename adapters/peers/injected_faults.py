"""What goes wrong in a lab, on command: one vocabulary for the simulated lab, the interlocks' tests and the torture runs.

A fault strikes a channel (or the whole cycler) at a lab time and lasts for a while or for good. Faults of the cell change the
cell; faults of a sensor change what is recorded of a healthy cell; faults of the device and of the line to it change what a
driver's caller sees. `random_faults` draws a reproducible plan from rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import from_plain, value


class FaultKind(StrEnum):
    """What can go wrong."""

    INTERNAL_SHORT = "internal_short"
    CAPACITY_LOSS = "capacity_loss"
    PLATING_KNEE = "plating_knee"
    THERMOCOUPLE_OPEN = "thermocouple_open"
    THERMOCOUPLE_STUCK = "thermocouple_stuck"
    SENSOR_DROPOUT = "sensor_dropout"
    CONTACT_LOSS = "contact_loss"
    CHANNEL_DEAD = "channel_dead"
    CYCLER_UNREACHABLE = "cycler_unreachable"
    ACKNOWLEDGEMENT_LOST = "acknowledgement_lost"
    ACKNOWLEDGEMENT_LATE = "acknowledgement_late"
    RESULT_TWICE = "result_twice"
    CLOCK_JUMP = "clock_jump"
    POWER_LOSS = "power_loss"


CELL_FAULTS = frozenset({FaultKind.INTERNAL_SHORT, FaultKind.CAPACITY_LOSS, FaultKind.PLATING_KNEE})
SENSOR_FAULTS = frozenset(
    {FaultKind.THERMOCOUPLE_OPEN, FaultKind.THERMOCOUPLE_STUCK, FaultKind.SENSOR_DROPOUT, FaultKind.CONTACT_LOSS}
)
DEVICE_FAULTS = frozenset({FaultKind.CHANNEL_DEAD, FaultKind.POWER_LOSS, FaultKind.CLOCK_JUMP})
LINE_FAULTS = frozenset(
    {FaultKind.CYCLER_UNREACHABLE, FaultKind.ACKNOWLEDGEMENT_LOST, FaultKind.ACKNOWLEDGEMENT_LATE, FaultKind.RESULT_TWICE}
)
# What strikes all channels at once, where a plan is drawn: the cycler's computer, its supply, its clock.
WHOLE_CYCLER = frozenset({FaultKind.CYCLER_UNREACHABLE, FaultKind.POWER_LOSS, FaultKind.CLOCK_JUMP})

# What `size` means, its unit, and what it is when not given.
SIZES: Mapping[FaultKind, tuple[str, str, float]] = {
    FaultKind.INTERNAL_SHORT: ("resistance of the short", "ohm", 30.0),
    FaultKind.CAPACITY_LOSS: ("share of the cyclable lithium lost at once", "1", 0.05),
    FaultKind.PLATING_KNEE: ("factor on lithium plating from then on", "1", 8.0),
    FaultKind.THERMOCOUPLE_OPEN: ("reading of an open input", "degC", math.nan),
    FaultKind.SENSOR_DROPOUT: ("share of the rows lost", "1", 1.0),
    FaultKind.CONTACT_LOSS: ("series resistance of the bad contact", "ohm", 0.05),
    FaultKind.ACKNOWLEDGEMENT_LATE: ("delay of the answer", "h", 0.1),
    FaultKind.CLOCK_JUMP: ("step of the cycler's clock", "h", -1.0),
}
# What sizes there can be: the bound below, whether it counts itself, the bound above, whether it counts.
_RANGES: Mapping[FaultKind, tuple[float, bool, float, bool]] = {
    FaultKind.INTERNAL_SHORT: (0.0, False, math.inf, False),
    FaultKind.CAPACITY_LOSS: (0.0, True, 1.0, False),
    FaultKind.PLATING_KNEE: (0.0, True, math.inf, False),
    FaultKind.SENSOR_DROPOUT: (0.0, False, 1.0, True),
    FaultKind.CONTACT_LOSS: (0.0, False, math.inf, False),
    FaultKind.ACKNOWLEDGEMENT_LATE: (0.0, False, math.inf, False),
}


@value
class InjectedFault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        at_h: lab time at which it strikes, hours.
        channel: where; None strikes every channel.
        duration_h: how long it lasts; None: for good. A fault of an instant (an acknowledgement lost or late, a result
            twice) strikes the first occasion in this time. Faults of the cell always last, and so does a clock's jump. A
            power loss without a duration is over at once; with one, nothing answers until the power is back.
        size: how bad, in the unit of `SIZES`; None takes the default there.
    """

    kind: FaultKind
    at_h: float = 0.0
    channel: str | None = None
    duration_h: float | None = None
    size: float | None = None

    def __post_init__(self) -> None:
        faults = []
        if not math.isfinite(self.at_h) or self.at_h < 0:
            faults.append(Fault("at_h", f"must be a lab time >= 0 h (got {self.at_h:g})."))
        if self.duration_h is not None and not self.duration_h > 0:
            faults.append(
                Fault("duration_h", f"must be positive (got {self.duration_h:g}).", "Leave it out for a lasting fault.")
            )
        if self.duration_h is not None and self.kind in CELL_FAULTS | {FaultKind.CLOCK_JUMP}:
            faults.append(Fault("duration_h", f"means nothing for {self.kind.value}, which lasts.", "Leave it out."))
        faults += self._size_faults()
        if faults:
            raise SpecError(faults)

    def _size_faults(self) -> list[Fault]:
        if self.size is None:
            return []
        if self.kind not in SIZES:
            return [Fault("size", f"means nothing for {self.kind.value}.", "Leave it out.")]
        least, with_least, most, with_most = _RANGES.get(self.kind, (-math.inf, False, math.inf, False))
        enough = self.size >= least if with_least else self.size > least
        if enough and (self.size <= most if with_most else self.size < most):
            return []
        what, unit, _ = SIZES[self.kind]
        above = "" if most == math.inf else f" and {'at most' if with_most else 'below'} {most:g}"
        wanted = f"{'>=' if with_least else '>'} {least:g}{above}"
        return [Fault("size", f"of {self.kind.value} is the {what} in {unit}: it must be {wanted} (got {self.size:g}).")]

    @property
    def magnitude(self) -> float:
        """`size`, or what it is by default; 0 where the kind has none."""
        return self.size if self.size is not None else SIZES[self.kind][2] if self.kind in SIZES else 0.0

    @property
    def until_h(self) -> float:
        """Lab time at which it is over; infinite if it lasts."""
        return math.inf if self.duration_h is None else self.at_h + self.duration_h

    def strikes(self, channel: str | None) -> bool:
        """Whether a channel is affected; None asks for the cycler as a whole."""
        return self.channel is None or self.channel == channel

    def active(self, now_h: float, channel: str | None = None) -> bool:
        """Whether it is there now."""
        return self.strikes(channel) and self.at_h <= now_h < self.until_h


GivenFaults = Iterable[InjectedFault | Mapping[str, Any]]


def _named(item: Any) -> Any:
    """A table whose channel is a number, with the channel's name: who counts channels writes `channel = 1`."""
    if isinstance(item, Mapping) and type(item.get("channel")) is int:
        return {**item, "channel": str(item["channel"])}
    return item


def read_faults(
    given: GivenFaults, channels: Sequence[str], kinds: frozenset[FaultKind] = frozenset(FaultKind), where: str = "a cycler"
) -> tuple[InjectedFault, ...]:
    """A plan of faults as a spec or a caller gives it, in the order of time.

    Args:
        given: faults, or tables with their fields.
        channels: of the cycler that they are for.
        kinds: that can strike there.
        where: the cycler in words, for messages.

    Raises:
        SpecError: with everything wrong with any of them.
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise SpecError(
            Fault("faults", f"must be a list of faults (got {given!r}).", "Write faults = [{kind = ..., at_h = ...}].")
        )
    plan: list[InjectedFault] = []
    wrong: list[Fault] = []
    for i, item in enumerate(given):
        try:
            fault = item if isinstance(item, InjectedFault) else from_plain(InjectedFault, _named(item))
        except SpecError as error:
            wrong += [problem.under(f"faults[{i}]") for problem in error.faults]
            continue
        plan.append(fault)
        wrong += [problem.under(f"faults[{i}]") for problem in _misplaced(fault, channels, kinds, where)]
    if wrong:
        raise SpecError(wrong)
    return tuple(sorted(plan, key=lambda fault: fault.at_h))


def _misplaced(fault: InjectedFault, channels: Sequence[str], kinds: frozenset[FaultKind], where: str) -> list[Fault]:
    found = []
    if fault.channel is not None and fault.channel not in channels:
        found.append(Fault("channel", f"'{fault.channel}' is no channel of it.", f"It has: {', '.join(channels)}."))
    if fault.kind not in kinds:
        possible = ", ".join(sorted(kind.value for kind in kinds))
        found.append(Fault("kind", f"{fault.kind.value} cannot strike {where}.", f"Possible: {possible}."))
    return found


def faults_of_run(plan: Iterable[InjectedFault], channel: str, started_h: float) -> tuple[InjectedFault, ...]:
    """The faults of a plan that will strike a run once it has started: its cell, its sensors, its device; not the line to it."""
    on_channel = [fault for fault in plan if fault.strikes(channel) and fault.kind not in LINE_FAULTS]
    return tuple(f for f in on_channel if f.at_h >= started_h or (f.kind in SENSOR_FAULTS and f.until_h > started_h))


def random_faults(
    seed: int, channels: Sequence[str], horizon_h: float, per_1000_channel_h: Mapping[FaultKind, float], duration_h: float = 2.0
) -> tuple[InjectedFault, ...]:
    """A plan of faults, Poisson in time per channel and kind; the same arguments give the same plan.

    Args:
        seed: of the plan.
        channels: where faults may strike.
        horizon_h: up to which lab time.
        per_1000_channel_h: rate of each kind. What strikes the whole cycler (`WHOLE_CYCLER`) comes as often in all.
        duration_h: mean duration of faults that pass, exponential; faults of the cell and jumps of the clock last.
    """
    rng = np.random.default_rng(seed)
    plan: list[InjectedFault] = []
    for kind in sorted(per_1000_channel_h):
        places: Sequence[str | None] = [None] if kind in WHOLE_CYCLER else channels
        share = len(channels) / len(places)
        for channel in places:
            count = int(rng.poisson(per_1000_channel_h[kind] * share * horizon_h / 1000))
            for at_h in sorted(rng.uniform(0, horizon_h, count).tolist()):
                lasts = kind in CELL_FAULTS or kind is FaultKind.CLOCK_JUMP
                plan.append(InjectedFault(kind, at_h, channel, None if lasts else float(rng.exponential(duration_h)) + 1e-6))
    return tuple(sorted(plan, key=lambda fault: fault.at_h))
