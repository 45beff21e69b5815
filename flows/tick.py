"""The state of one tick, and what every stage asks of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from flows.bench import Bench
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.errors import IllegalMoveError
from orchestrator.domain.trial import DEVICE, EMERGENCY_STOP, Trial, TrialStatus
from orchestrator.store import CampaignRecord, Event

_S = TrialStatus


@dataclass
class Tick:
    """The state of one tick: the history read once, and changed as trials move.

    `heard` and `unheard` are the trials that each cycler was asked about in this tick, and answered or did not (flows.silence).
    """

    bench: Bench
    trials: dict[int, Trial]
    before: int
    fence: int = 0
    changed: set[int] = field(default_factory=set)
    proposed: int = 0
    halt: str | None = None
    doubt: str | None = None
    failing: str | None = None
    emergency: str | None = None
    heard: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    unheard: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    said_before: list[Event] | None = None
    silent_ticks: int = 0

    @property
    def campaign(self) -> CampaignRecord:
        """The campaign as read at the start of the tick."""
        return self.bench.campaign

    @property
    def spec(self) -> CampaignSpec:
        """The spec that this tick works by."""
        return self.bench.campaign.spec

    def note(self, trial: Trial) -> None:
        """Keep a trial as it now stands, and whether that is news."""
        before = self.trials.get(trial.number)
        if before is None or before != trial:
            self.changed.add(trial.number)
        self.trials[trial.number] = trial

    def having(self, *states: TrialStatus) -> list[Trial]:
        """The trials in any of these states, by number."""
        return [trial for trial in self.trials.values() if trial.status in states]


def spent(tick: Tick) -> int:
    """Trials that count against the budget.

    None that was cancelled, told from elsewhere, or ended by a fault of the device or an emergency stop.
    """
    return sum(costs(trial) for trial in tick.trials.values())


def costs(trial: Trial) -> bool:
    """Whether a trial counts against the budget."""
    free_of_charge = trial.status is _S.CANCELLED or trial.origin == "told" or trial.cause in (DEVICE, EMERGENCY_STOP)
    return not free_of_charge


def places_left(tick: Tick) -> bool:
    """Whether the budget allows one more trial."""
    return spent(tick) < tick.spec.budget.trials


def move(tick: Tick, trial: Trial, to: TrialStatus, reason: str | None, cause: str | None = None) -> Trial:
    """Move a trial to a state that holds no channel; what a person decided about it meanwhile stands."""
    store, now_h = tick.bench.lab.store, tick.bench.now_h
    try:
        return store.move(tick.campaign.name, trial.number, to, lab_time_h=now_h, reason=reason, cause=cause)
    except IllegalMoveError:
        if (now := store.trial(tick.campaign.name, trial.number)).status is trial.status:
            raise
        return now
