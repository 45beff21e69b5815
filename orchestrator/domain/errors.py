"""What can go wrong, in words a person can act on, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where it stands, what is wrong, and how to mend it."""

    where: str
    problem: str
    remedy: str = ""
    line: int | None = None

    def under(self, prefix: str) -> Fault:
        """The same fault, seen from the enclosing section."""
        where = ".".join(part for part in (prefix, self.where) if part)
        return replace(self, where=where.replace(".[", "["))

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        where = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{line}{where}{self.problem}{remedy}"


class VoltloopError(Exception):
    """Any fault that voltloop reports in one message; `exit_code` is what the command line ends with."""

    exit_code = 2


class SpecError(VoltloopError, ValueError):
    """A value, a spec or a file that cannot be accepted; carries every fault found, not the first."""

    def __init__(self, faults: Fault | str | Iterable[Fault]) -> None:
        if isinstance(faults, str):
            faults = Fault("", faults)
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UnsafeProtocolError(SpecError):
    """A protocol step that could pass a safety limit: it is never constructed."""


class StoreError(VoltloopError):
    """The lab's database or one of its files refuses: newer schema, locked, read-only, full."""


class CampaignError(VoltloopError):
    """A campaign that does not exist, exists already, or cannot do what was asked in its present state."""


class IllegalMoveError(CampaignError):
    """A trial was asked to change to a state that it cannot reach from where it is."""


class CyclerError(VoltloopError):
    """A cycler refused or could not be reached; whether a test started may be unknown."""


class CyclerUnreachableError(CyclerError):
    """No answer came. Never the same as failure: ask again before anything is submitted twice."""


class RequestRefusedError(CyclerError):
    """The cycler says it cannot run this request (unknown channel, limit it cannot enforce, busy channel)."""


class KeyRevokedError(RequestRefusedError):
    """The key was revoked before it was submitted: nothing was started, and nothing ever will be under it."""


class ChannelBusyError(RequestRefusedError):
    """The channel is occupied by a run that the lab does not know of."""


class SafetyStopError(VoltloopError):
    """The campaign was stopped because going on was judged unsafe."""

    exit_code = 3


class NeedsPersonError(VoltloopError):
    """The campaign cannot go on without a decision that belongs to a person."""

    exit_code = 4


class NoSafeCandidateError(NeedsPersonError):
    """No candidate's pessimistic bound keeps the safe limits: nothing may be proposed."""


class FormatError(VoltloopError):
    """A file that cannot be read as what it claims to be; the message names the file, the place and the remedy."""
