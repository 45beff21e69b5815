"""The lab: store, recordings, cyclers and clock wired together. The one place that names concrete things."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.cyclers import DEFAULT_CYCLERS, cycler_faults, make_cycler, make_cyclers
from flows.estop_records import take_in
from flows.lab_folder import DATABASE_FILE, DATABASE_VARIABLE, LAB_VARIABLE, archive_of, lab_folder, lost_database
from flows.latch import EmergencyLatch
from flows.roster import note_cyclers, note_lab_time
from orchestrator.domain.campaign_spec import CampaignSpec, CyclerSpec
from orchestrator.domain.clock import Clock, SystemClock, VirtualClock
from orchestrator.domain.cycler import Cycler, LabBound, VirtualTimeCycler
from orchestrator.domain.errors import CampaignError, Fault, SpecError, StoreError
from orchestrator.domain.recording import Recording, of_the_format
from orchestrator.domain.trial import TrialStatus
from orchestrator.domain.value import to_plain
from orchestrator.store import RecordingArchive, TrialStore
from orchestrator.store.engine import system_now

__all__ = ["DATABASE_VARIABLE", "LAB_VARIABLE", "Lab", "lab_folder"]


class Lab:
    """A lab folder opened: everything a campaign needs to run.

    Made by `Lab.open`; use it as a context manager, or call `close`.

    Attributes:
        folder: holds the database (unless elsewhere), recordings, cyclers' state and reports.
        store: the only memory.
        archive: closed recordings.
        latch: which cyclers an emergency stop keeps from being started.
    """

    def __init__(self, folder: Path, store: TrialStore, archive: RecordingArchive, clock: Clock | None) -> None:
        self.folder, self.store, self.archive = folder, store, archive
        self.latch = EmergencyLatch(folder)
        self._clock = clock
        self._noted: dict[str, tuple[CyclerSpec | str, ...]] = {}
        self._given: tuple[Cycler, ...] | None = None
        self._made: dict[str, Cycler] = {}

    @classmethod
    def open(
        cls,
        folder: str | Path | None = None,
        cyclers: Iterable[Cycler] | None = None,
        *,
        clock: Clock | None = None,
        database_url: str | None = None,
        create: bool = True,
        busy_timeout_s: float = 10.0,
        now: Callable[[], datetime] = system_now,
    ) -> Lab:
        """Open a lab folder, making it if it is not there.

        Args:
            folder: the lab's folder; default `VOLTLOOP_LAB`, else `./lab`.
            cyclers: the cyclers to use; None takes those that each campaign's spec names.
            clock: lab time; None takes virtual time if every cycler can jump to its next end, else real time.
            database_url: a SQLAlchemy URL; default `VOLTLOOP_DATABASE_URL`, else SQLite inside the folder.
            create: False refuses a folder that holds no lab.
            busy_timeout_s: how long to wait for another process's write.
            now: the system's time, for leases and time stamps.

        Raises:
            StoreError: the folder or database cannot be used; nothing was changed.
        """
        path = lab_folder(folder)
        url = database_url or os.environ.get(DATABASE_VARIABLE)
        database = path / DATABASE_FILE
        if not url and (lost := lost_database(path)):
            raise StoreError(lost)
        if not create and not url and not database.exists():
            raise StoreError(
                f"there is no lab in '{path}'. Start one with `voltloop run SPEC --lab {path}`, or name another with --lab."
            )
        _make_folder(path)
        store = TrialStore.open(url or database, busy_timeout_s=busy_timeout_s, now=now)
        lab = cls(path, store, archive_of(path), clock)
        with suppress(StoreError):  # whoever opens the lab next, or ticks, does it
            take_in(store, path)
        if cyclers is not None:
            lab._given = _differently_named(cyclers)
            for cycler in lab._given:
                lab._attach(cycler)
        return lab

    def close(self) -> None:
        """Let go of the database and of what the cyclers hold."""
        for cycler in self.cyclers:
            close = getattr(cycler, "close", None)
            if callable(close):
                close()
        self.store.close()

    @property
    def cyclers(self) -> list[Cycler]:
        """Every cycler in use: those given to `open`, else those that campaigns looked at so far have named."""
        return list(self._given or self._made.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """Lab time."""
        if self._clock is None:
            self._clock = self._fitting_clock()
        return self._clock

    def now_h(self) -> float:
        """Lab time, hours since the epoch."""
        return self.clock.now_h()

    @property
    def virtual_time(self) -> bool:
        """Whether time passes only when somebody waits."""
        return isinstance(self.clock, VirtualClock)

    def cyclers_for(self, spec: CampaignSpec) -> dict[str, Cycler]:
        """The cyclers a campaign runs on, by name: those given to `open`, else those its spec names.

        Each is made once; two campaigns that name the same cycler with other settings share its channels and its folder.

        Raises:
            SpecError: if one cannot be made.
        """
        if self._given is not None:
            return {cycler.capabilities.name: cycler for cycler in self._given}
        wanted = {_as_text(named): named for named in spec.cyclers or DEFAULT_CYCLERS}
        fresh = {text: make_cycler(named) for text, named in wanted.items() if text not in self._made}
        self._made.update(fresh)  # all of them, before the first asks for the clock: one real cycler makes time real
        for cycler in fresh.values():
            self._attach(cycler)
        return {self._made[text].capabilities.name: self._made[text] for text in wanted}

    def would_run_on(self, named: Iterable[CyclerSpec]) -> tuple[list[Cycler], list[Fault]]:
        """The cyclers of a spec not yet taken up, and why others cannot be made: none is attached to the lab."""
        return (list(self._given), []) if self._given is not None else cycler_faults(named)

    def under(self, campaign: str, fence: int) -> Lab:
        """This lab as a tick sees it that holds the campaign's lock: it writes only while the lock is held under this fence."""
        _ = self.clock  # one clock for both
        twin = copy.copy(self)
        twin.store = self.store.under(campaign, fence)
        return twin

    def recording(self, campaign: str, number: int) -> Recording:
        """What was measured in a finished trial's last attempt.

        Raises:
            CampaignError: if there is no such trial, or nothing was recorded of it.
        """
        trial, spec = self.store.trial(campaign, number), self.store.campaign(campaign).spec
        file = self.store.recording_of(campaign, number)
        if file is None:
            raise CampaignError(f"nothing was recorded of trial {number} of '{campaign}' ({trial.status}).")
        cell = spec.experiment.cell
        return Recording(
            columns=of_the_format(self.archive.read(file)),
            nominal_capacity_Ah=cell.nominal_capacity_Ah,
            end_of_life=spec.experiment.end_of_life,
            complete=trial.status is TrialStatus.COMPLETED,
            synthetic=cell.synthetic,
            key=trial.key,
        )

    def note_time(self) -> None:
        """Keep lab time where an emergency stop finds it without the database.

        Raises:
            StoreError: the folder cannot be written.
        """
        with _writable(self.folder):
            note_lab_time(self.folder, self.clock)

    def note_cyclers(self, spec: CampaignSpec) -> None:
        """Keep a campaign's cyclers, and lab time, where an emergency stop finds them without the database.

        Raises:
            StoreError: the folder cannot be written.
        """
        own = None if self._given is None else tuple(cycler.capabilities.name for cycler in self._given)
        cyclers = own or spec.cyclers or DEFAULT_CYCLERS
        if self._noted.get(spec.name) == cyclers:
            return
        ended = {record.name for record in self.store.campaigns() if record.status in ("completed", "stopped")} - {spec.name}
        with _writable(self.folder):
            note_lab_time(self.folder, self.clock)
            note_cyclers(self.folder, spec.name, cyclers, ended=ended, real_time=isinstance(self.clock, SystemClock))
        self._noted[spec.name] = cyclers

    def _attach(self, cycler: Cycler) -> None:
        """Give a cycler its clock and folder, and the store its channels."""
        name = cycler.capabilities.name
        if isinstance(cycler, LabBound):
            cycler.bind(self.clock, self.folder / "cyclers" / name)
        self.store.ensure_channels(name, list(cycler.capabilities.channels))

    def _fitting_clock(self) -> Clock:
        """Virtual time if every cycler can jump to its next end; a lab opened without cyclers looks at its latest campaign's."""
        cyclers = self.cyclers
        if not cyclers:
            cyclers = [c for campaign in self.store.campaigns()[-1:] for c in make_cyclers(campaign.spec.cyclers)]
        if cyclers and all(isinstance(cycler, VirtualTimeCycler) for cycler in cyclers):
            return VirtualClock(self.store.last_lab_time_h() or 0.0)
        return SystemClock()


def _as_text(named: CyclerSpec) -> str:
    return json.dumps(to_plain(named), sort_keys=True, default=str)


def _differently_named(cyclers: Iterable[Cycler]) -> tuple[Cycler, ...]:
    given = tuple(cyclers)
    names = [cycler.capabilities.name for cycler in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(Fault("cyclers", f"two cyclers are named '{twice[0]}'.", "Names must differ within a lab."))
    return given


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Say what to do about a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the lab folder '{path}' cannot be written: {error.strerror}. Make it writable, and make room on its disk."
        ) from None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the lab folder '{path}' cannot be made: {error.strerror}. Choose another with --lab.") from None
