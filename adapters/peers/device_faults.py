"""What faults of the device do to its runs: a channel dies, the power goes. Pure functions of a plan and of lab time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adapters.peers.injected_faults import FaultKind, InjectedFault
from orchestrator.domain.errors import ChannelBusyError


class ChannelDeadError(ChannelBusyError):
    """The channel is dead. A lab treats it as one that somebody else holds: it is put aside, and the test goes elsewhere."""


@dataclass(frozen=True)
class Cut:
    """The end of a run by a fault of its device: when, in lab time, and why."""

    at_h: float
    reason: str


def cut(faults: Iterable[InjectedFault], channel: str, started_h: float) -> Cut | None:
    """How the device will end a run started then, if it does: the first of such faults after the start."""
    ends = [
        Cut(fault.at_h, _reason(fault, channel))
        for fault in faults
        if fault.kind in (FaultKind.CHANNEL_DEAD, FaultKind.POWER_LOSS) and fault.strikes(channel) and fault.at_h > started_h
    ]
    return min(ends, key=lambda end: end.at_h, default=None)


def _reason(fault: InjectedFault, channel: str) -> str:
    if fault.kind is FaultKind.POWER_LOSS:
        return f"power loss at {fault.at_h:.6g} h: the run ended with it; what was recorded before is kept"
    return f"channel {channel} died at {fault.at_h:.6g} h; what was recorded before is kept"


def refuse_if_dead(faults: Iterable[InjectedFault], channel: str, now_h: float) -> None:
    """Let no test start on a dead channel.

    Raises:
        ChannelDeadError: nothing was started.
    """
    for fault in faults:
        if fault.kind is FaultKind.CHANNEL_DEAD and fault.active(now_h, channel):
            until = "for good" if fault.duration_h is None else f"until {fault.until_h:.6g} h"
            raise ChannelDeadError(f"channel {channel} is dead {until}; nothing was started.")
