"""The lab: store, recordings, cyclers and clock wired together. The one place that names concrete things."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.cyclers import DEFAULT_CYCLERS, make_cycler, make_cyclers
from orchestrator.domain.campaign_spec import CampaignSpec, CyclerSpec
from orchestrator.domain.clock import Clock, SystemClock, VirtualClock
from orchestrator.domain.cycler import Cycler, LabBound, VirtualTimeCycler
from orchestrator.domain.errors import CampaignError, Fault, SpecError, StoreError
from orchestrator.domain.recording import Recording
from orchestrator.domain.trial import TrialStatus
from orchestrator.domain.value import to_plain
from orchestrator.store import RecordingArchive, TrialStore
from orchestrator.store.engine import system_now

DATABASE_VARIABLE = "VOLTLOOP_DATABASE_URL"
LAB_VARIABLE = "VOLTLOOP_LAB"


class Lab:
    """A lab folder opened: everything a campaign needs to run.

    Made by `Lab.open`; use it as a context manager, or call `close`.

    Attributes:
        folder: holds the database (unless elsewhere), recordings, cyclers' state and reports.
        store: the only memory.
        archive: closed recordings.
    """

    def __init__(self, folder: Path, store: TrialStore, archive: RecordingArchive, clock: Clock | None) -> None:
        self.folder, self.store, self.archive = folder, store, archive
        self._clock = clock
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
        database = path / "voltloop.db"
        if not create and not url and not database.exists():
            raise StoreError(
                f"there is no lab in '{path}'. Start one with `voltloop run SPEC --lab {path}`, or name another with --lab."
            )
        _make_folder(path)
        store = TrialStore.open(url or database, busy_timeout_s=busy_timeout_s, now=now)
        lab = cls(path, store, RecordingArchive(path / "recordings"), clock)
        if cyclers is not None:
            lab._given = _differently_named(cyclers)
            for cycler in lab._given:
                lab._attach(cycler)
        return lab

    def close(self) -> None:
        """Let go of the database and of what the cyclers hold."""
        for cycler in self._attached:
            close = getattr(cycler, "close", None)
            if callable(close):
                close()
        self.store.close()

    @property
    def _attached(self) -> list[Cycler]:
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
            columns=self.archive.read(file),
            nominal_capacity_Ah=cell.nominal_capacity_Ah,
            end_of_life=spec.experiment.end_of_life,
            complete=trial.status is TrialStatus.COMPLETED,
            synthetic=cell.synthetic,
            key=trial.key,
        )

    def _attach(self, cycler: Cycler) -> None:
        """Give a cycler its clock and folder, and the store its channels."""
        name = cycler.capabilities.name
        if isinstance(cycler, LabBound):
            cycler.bind(self.clock, self.folder / "cyclers" / name)
        self.store.ensure_channels(name, list(cycler.capabilities.channels))

    def _fitting_clock(self) -> Clock:
        """Virtual time if every cycler can jump to its next end; a lab opened without cyclers looks at its latest campaign's."""
        cyclers = self._attached
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


def lab_folder(folder: str | Path | None) -> Path:
    """The lab's folder: as given, else `VOLTLOOP_LAB`, else `./lab`."""
    return Path(folder or os.environ.get(LAB_VARIABLE) or "lab").expanduser().absolute()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the lab folder '{path}' cannot be made: {error.strerror}. Choose another with --lab.") from None
