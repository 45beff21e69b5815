"""What the lab asks of a cycler: the request it sends, the answers it gets, and the protocol every adapter keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.candidate import Candidate
from orchestrator.domain.cell_design import CellDesign
from orchestrator.domain.clock import Clock
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.protocol import Loop, Step
from orchestrator.domain.protocol import Protocol as CyclingProtocol
from orchestrator.domain.recording import Recording
from orchestrator.domain.value import content_hash, to_plain, value


@value
class RunRequest:
    """One test of one cell on one channel.

    Attributes:
        key: the idempotency key; a cycler starts at most one physical test per key, ever.
        protocol: the steps of one ageing cycle, with the safety limits the cycler itself must enforce.
        max_cycles: the test ends after this many cycles, or when the capacity of a cycle falls below
            `end_of_life` times the nominal capacity of `cell`.
        checkup_every_cycles: a full recording of one cycle is wanted at least this often.
        checkup: the steps of a check-up, made after the recorded cycle; None records that ageing cycle alone.
        impedance_every_checkups: impedance steps of the check-up are made in the first check-up and in every so-manieth; in the
            others they are left out.
        ambient_temperature_degC: what the chamber is set to.
    """

    key: str
    channel: str
    candidate: Candidate
    cell: CellDesign
    protocol: CyclingProtocol
    max_cycles: int
    end_of_life: float = 0.8
    checkup_every_cycles: int = 50
    checkup: CyclingProtocol | None = None
    ambient_temperature_degC: float = 25.0
    impedance_every_checkups: int = 1

    def __post_init__(self) -> None:
        faults = [
            Fault(name, f"must be at least 1 (got {getattr(self, name)}).")
            for name in ("max_cycles", "checkup_every_cycles", "impedance_every_checkups")
            if getattr(self, name) < 1
        ]
        if not self.key:
            faults.append(Fault("key", "is empty."))
        if faults:
            raise SpecError(faults)

    @property
    def end_of_life_Ah(self) -> float:
        """The capacity below which the test ends."""
        return self.end_of_life * self.cell.nominal_capacity_Ah

    @cached_property
    def content_sha256(self) -> str:
        """Hash of what is done to the cell: everything but the key and the channel."""
        plain = {k: v for k, v in to_plain(self).items() if k not in ("key", "channel")}
        if self.impedance_every_checkups == 1:
            del plain["impedance_every_checkups"]  # requests of before this field keep their hash
        return content_hash(plain)

    def program(self) -> CyclingProtocol:
        """The whole test as one protocol of loops, for cyclers that take a program."""
        cycle, every = self.protocol.steps, self.checkup_every_cycles
        if self.checkup is None or every >= self.max_cycles:
            return CyclingProtocol((Loop(cycle, self.max_cycles),), self.protocol.limits)
        rest = self.max_cycles % every
        blocks = _blocks(Loop(cycle, every), self.checkup, self.max_cycles // every, self.impedance_every_checkups)
        return CyclingProtocol((*blocks, *((Loop(cycle, rest),) if rest else ())), self.protocol.limits)


def _blocks(cycles: Loop, checkup: CyclingProtocol, times: int, spectra_every: int) -> tuple[Step, ...]:
    """Cycles and a check-up, so many times, spectra in the first check-up and in every so-manieth."""
    measured, bare = (cycles, *checkup.steps), (cycles, *checkup.without_impedance())
    if spectra_every == 1 or bare == measured:
        return (Loop(measured, times),)
    groups, left = divmod(times, spectra_every)
    group = (*measured, Loop(bare, spectra_every - 1))
    beginning = (*measured, *((Loop(bare, left - 1),) if left > 1 else ())) if left else ()
    return (*((Loop(group, groups),) if groups else ()), *beginning)


class RunState(StrEnum):
    """What a cycler says of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the channel is free of it."""
        return self in (RunState.FINISHED, RunState.STOPPED, RunState.FAILED)


@dataclass(frozen=True)
class RunRef:
    """A cycler's own handle of a run; it travels as text in the store."""

    cycler: str
    key: str
    channel: str
    native_id: str


@dataclass(frozen=True)
class RunStatus:
    """What a cycler says of a run now.

    Attributes:
        reason: why it ended or failed, in words a scientist understands.
        safety: True if a safety limit ended it.
        cycles: cycles finished so far.
        ended_h: lab time at which it ended, hours; None while it runs.
        results: estimates the cycler reports itself.
        cause: what kind of thing ended it early, where the cycler can tell: "solver" (the simulation failed), "infeasible" (the
            cell cannot do a step), "safety" (a safety limit), "timeout" (it took too long), "device" (channel, power); else None.
    """

    state: RunState
    reason: str | None = None
    safety: bool = False
    cycles: int = 0
    started_h: float | None = None
    ended_h: float | None = None
    results: Mapping[str, Estimate] = field(default_factory=dict)
    cause: str | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a cycler can do.

    Attributes:
        channels: names of its channels.
        limits: the fields of `SafetyLimits` that it enforces itself.
        searchable: whether `find(key)` is reliable; if not, an unanswered submission needs a person.
        metrics: metrics that it reports itself (`RunStatus.results`).
        synthetic: its numbers come from a model.
        records: whether it gives time series; without them only its own metrics are there.
        poll_s: how often, in lab seconds, asking makes sense.
    """

    name: str
    channels: tuple[str, ...]
    limits: frozenset[str] = frozenset()
    searchable: bool = True
    metrics: frozenset[str] = frozenset()
    synthetic: bool = False
    poll_s: float = 60.0
    records: bool = True


@runtime_checkable
class Cycler(Protocol):
    """A thing with channels that runs protocols.

    Every method may raise `CyclerUnreachableError`: then the answer is unknown, not no.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; cheap, no connection needed."""
        ...

    def submit(self, request: RunRequest) -> RunRef:
        """Start a test; a second call with the same key starts nothing and returns the first one's reference.

        Raises:
            RequestRefusedError: it cannot run this request; nothing was started.
        """
        ...

    def find(self, key: str) -> RunRef | None:
        """The run submitted under a key, or None if there never was one."""
        ...

    def status(self, ref: RunRef) -> RunStatus:
        """What the run is doing; `RunState.UNKNOWN` for a reference that it does not know."""
        ...

    def read(self, ref: RunRef, cursor: str | None = None) -> tuple[dict[str, NDArray[Any]], str | None]:
        """Rows recorded since `cursor` (None: from the start) and the cursor after them; `{}` when there are none.

        Reading is repeatable: the same cursor gives the same rows again, and more once there are more.
        """
        ...

    def stop(self, ref: RunRef, reason: str) -> None:
        """Ask for the run to end; repeating is harmless. `status` tells when it has ended."""
        ...

    def emergency_stop(self, channel: str | None = None) -> None:
        """Make a channel, or all, safe now."""
        ...


@runtime_checkable
class Revocable(Protocol):
    """A cycler that can promise never to start a key.

    The lab revokes a key before it gives up an intent: a process that was stalled since may still submit it, hours later, when
    the channel belongs to another test or the limits have changed.
    """

    def revoke(self, key: str) -> RunRef | None:
        """Never start this key from now on: a later `submit` raises `KeyRevokedError`. Durable; repeating is harmless.

        Returns:
            The run, if the key was started already: it goes on, and nothing is revoked.
        """
        ...


@runtime_checkable
class LabBound(Protocol):
    """A cycler that lives inside the lab (a simulation): the lab gives it its clock and a folder of its own."""

    def bind(self, clock: Clock, folder: Path) -> None:
        """Use this clock and keep state in this folder, unless the constructor was given others."""
        ...


@runtime_checkable
class VirtualTimeCycler(Protocol):
    """A cycler that can say when its next run ends, so that virtual time need not pass second by second."""

    def next_end_h(self) -> float | None:
        """Lab time, hours, at which the next of its running tests ends; None if nothing runs. May compute for a while."""
        ...


@runtime_checkable
class KnowsTruth(Protocol):
    """A cycler whose cells are models: it can tell what a perfect instrument would have measured."""

    def truth(self, ref: RunRef) -> Recording:
        """The run's recording without measurement noise. For counting and benchmarks, never for learning."""
        ...


def join_columns(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Join successive answers of `read`, each of 1-D arrays of equal length; names that not all of them have are filled.

    Where a column is missing: `quality_flags` are 0, integers of `cycle_count` are the last known (before the first known: that),
    every other column is NaN, as float64.
    """
    filled = [part for part in parts if part]
    names = list(dict.fromkeys(name for part in filled for name in part))
    if all(len(part) == len(names) for part in filled):
        return {name: np.concatenate([part[name] for part in filled]) for name in names}
    return {name: _with_gaps(name, filled) for name in names}


def _with_gaps(name: str, parts: list[dict[str, NDArray[Any]]]) -> NDArray[Any]:
    """One column of parts of which not all have it."""
    known = [part[name] for part in parts if name in part and len(part[name])]
    kind = np.result_type(*(part[name] for part in parts if name in part))
    kept = kind.kind in "iu" and name in ("cycle_count", "quality_flags")
    last: Any = np.nan if not kept else known[0][0] if known and name == "cycle_count" else 0
    joined = []
    for part in parts:
        if name not in part:
            length = len(next(iter(part.values())))
            joined.append(np.full(length, last, dtype=kind if kept else np.float64))
            continue
        joined.append(part[name])
        if kept and name == "cycle_count" and len(part[name]):
            last = part[name][-1]
    return np.concatenate(joined).astype(kind if kept else np.float64)
