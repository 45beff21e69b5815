"""What goes wrong in a lab, on command: one vocabulary for the simulated lab, the interlocks' tests and the torture runs.

A fault strikes a channel (or the whole cycler) at a lab time and lasts for a while or for good. Faults of the cell change the
cell; faults of a sensor change what is recorded of a healthy cell; faults of the device and of the line to it change what a
driver's caller sees. `random_faults` draws a reproducible plan from rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.value import value


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

# What `size` means, its unit, and what it is when not given.
SIZES: Mapping[FaultKind, tuple[str, str, float]] = {
    FaultKind.INTERNAL_SHORT: ("resistance of the short", "ohm", 30.0),
    FaultKind.CAPACITY_LOSS: ("share of the cyclable lithium lost at once", "1", 0.05),
    FaultKind.PLATING_KNEE: ("factor on lithium plating from then on", "1", 8.0),
    FaultKind.CONTACT_LOSS: ("series resistance of the bad contact", "ohm", 0.05),
    FaultKind.ACKNOWLEDGEMENT_LATE: ("delay of the answer", "h", 0.1),
    FaultKind.CLOCK_JUMP: ("step of the cycler's clock", "h", -1.0),
}


@value
class InjectedFault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        at_h: lab time at which it strikes, hours.
        channel: where; None strikes every channel.
        duration_h: how long it lasts; None: for good. A fault of an instant (a lost acknowledgement, a clock's jump)
            strikes the first occasion in this time.
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
        if self.size is not None and self.kind not in SIZES:
            faults.append(Fault("size", f"means nothing for {self.kind.value}.", "Leave it out."))
        if faults:
            raise SpecError(faults)

    @property
    def magnitude(self) -> float:
        """`size`, or what it is by default; 0 where the kind has none."""
        return self.size if self.size is not None else SIZES[self.kind][2] if self.kind in SIZES else 0.0

    def strikes(self, channel: str | None) -> bool:
        """Whether a channel is affected; None asks for the cycler as a whole."""
        return self.channel is None or self.channel == channel

    def active(self, now_h: float, channel: str | None = None) -> bool:
        """Whether it is there now."""
        until_h = math.inf if self.duration_h is None else self.at_h + self.duration_h
        return self.strikes(channel) and self.at_h <= now_h < until_h


def random_faults(
    seed: int, channels: Sequence[str], horizon_h: float, per_1000_channel_h: Mapping[FaultKind, float], duration_h: float = 2.0
) -> tuple[InjectedFault, ...]:
    """A plan of faults, Poisson in time per channel and kind; the same arguments give the same plan.

    Args:
        seed: of the plan.
        channels: where faults may strike.
        horizon_h: up to which lab time.
        per_1000_channel_h: rate of each kind.
        duration_h: mean duration of faults that pass, exponential; faults of the cell last.
    """
    rng = np.random.default_rng(seed)
    plan: list[InjectedFault] = []
    for kind in sorted(per_1000_channel_h):
        for channel in channels:
            count = int(rng.poisson(per_1000_channel_h[kind] * horizon_h / 1000))
            for at_h in sorted(rng.uniform(0, horizon_h, count).tolist()):
                lasting = None if kind in CELL_FAULTS else float(rng.exponential(duration_h)) + 1e-6
                plan.append(InjectedFault(kind, at_h, channel, lasting))
    return tuple(sorted(plan, key=lambda fault: fault.at_h))
