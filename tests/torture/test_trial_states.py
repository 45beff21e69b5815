"""Random legal and illegal calls of the store against a simple model: what a trial may become, who holds which channel."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.domain import Candidate, Estimate, TrialStatus
from orchestrator.domain.errors import CampaignError, IllegalMoveError
from orchestrator.domain.trial import LEGAL_MOVES
from orchestrator.store import NewTrial, StaleFenceError, TrialStore, engine
from tests.torture.plans import CYCLER, METRIC, RATE, plan_of
from tests.torture.simulation import DATABASE, START, _empty_database, _shared_memory
from tests.torture.substitutions import _unsynchronised

_S = TrialStatus
SPEC = replace(plan_of(0).specs[0], name="states")
CHANNELS = ("1", "2")
NUMBERS = st.integers(1, 3)
PLACES = st.sampled_from(CHANNELS)
OFFSETS = st.sampled_from((0, 0, 0, -1, 1))


@dataclass(frozen=True)
class Known:
    """What the model believes of a trial."""

    status: TrialStatus
    attempt: int = 0
    fence: int | None = None
    channel: str | None = None
    run_ref: str | None = None
    results: int = 0


@dataclass(frozen=True)
class Place:
    """What the model believes of a channel."""

    holder: int | None = None
    fence: int = 0
    aside: bool = False

    @property
    def state(self):
        """As the store calls it."""
        return "quarantined" if self.aside else "free" if self.holder is None else "held"


class TrialStates(RuleBasedStateMachine):
    """Three trials on two channels."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="voltloop-states-", dir=_shared_memory())
        shutil.copy(_empty_database(), Path(self.folder.name) / DATABASE)
        with patch.object(engine, "_prepare_sqlite", _unsynchronised(engine._prepare_sqlite)):
            self.store = TrialStore.open(Path(self.folder.name) / DATABASE, now=lambda: START)
        self.store.ensure_channels(CYCLER, CHANNELS)
        self.store.register_campaign(SPEC, lab_time_h=0.0)
        new = [NewTrial(Candidate({RATE: 1.0 + n}), "x", _S.PROPOSED if n == 0 else _S.APPROVED) for n in range(3)]
        self.store.add_trials(SPEC.name, new, lab_time_h=0.0)
        self.trials = {1: Known(_S.PROPOSED), 2: Known(_S.APPROVED), 3: Known(_S.APPROVED)}
        self.places = dict.fromkeys(CHANNELS, Place())

    def teardown(self):
        """Leave nothing behind."""
        self.store.close()
        self.folder.cleanup()

    @rule(number=NUMBERS, channel=PLACES)
    def begin(self, number, channel):
        """An intent takes a free channel, or nothing happens."""
        trial, place = self.trials[number], self.places[channel]
        call = lambda: self.store.begin_dispatch(SPEC.name, number, cycler=CYCLER, channel=channel, lab_time_h=1.0)  # noqa: E731
        if trial.status is not _S.APPROVED:
            self.refused(call, IllegalMoveError)
            return
        given = call()
        assert (given is None) == (place.state != "free")
        if given is not None:
            self.places[channel] = Place(number, place.fence + 1)
            self.trials[number] = Known(_S.DISPATCHING, trial.attempt + 1, place.fence + 1, channel)

    @rule(number=NUMBERS, offset=OFFSETS)
    def confirm(self, number, offset):
        """Only the intent that counts is confirmed."""
        trial = self.trials[number]
        call = lambda: self.store.confirm_intent(SPEC.name, number, fence=(trial.fence or 0) + offset)  # noqa: E731
        if trial.status is _S.DISPATCHING and offset == 0:
            assert call().status is _S.DISPATCHING
        else:
            self.refused(call, StaleFenceError)

    @rule(number=NUMBERS, offset=OFFSETS, ref=st.sampled_from(("a", "b")))
    def acknowledge(self, number, offset, ref):
        """A run is noted for the present attempt; saying it twice is harmless."""
        trial = self.trials[number]
        fence = (trial.fence or 0) + offset
        call = lambda: self.store.acknowledge(SPEC.name, number, run_ref=ref, started_h=2.0, fence=fence)  # noqa: E731
        if trial.fence != fence:
            self.refused(call, StaleFenceError)
        elif (trial.status, trial.run_ref) == (_S.RUNNING, ref):
            call()
        elif _S.RUNNING not in LEGAL_MOVES[trial.status]:
            self.refused(call, IllegalMoveError)
        else:
            call()
            self.trials[number] = replace(trial, status=_S.RUNNING, run_ref=ref)

    @rule(number=NUMBERS, offset=OFFSETS)
    def withdraw(self, number, offset):
        """An intent is given up under its own fence alone."""
        trial = self.trials[number]
        fence = (trial.fence or 0) + offset
        call = lambda: self.store.withdraw_dispatch(SPEC.name, number, fence=fence, reason="no", lab_time_h=3.0)  # noqa: E731
        if trial.fence != fence:
            self.refused(call, StaleFenceError)
        elif trial.status not in (_S.DISPATCHING, _S.UNKNOWN):
            self.refused(call, IllegalMoveError)
        else:
            call()
            self.free(trial.channel)
            self.trials[number] = Known(_S.APPROVED, trial.attempt)

    @rule(number=NUMBERS)
    def park(self, number):
        """What is begun or runs can become unknown; it keeps its channel."""
        trial = self.trials[number]
        call = lambda: self.store.park_unknown(SPEC.name, number, reason="who knows", lab_time_h=4.0)  # noqa: E731
        if trial.status in (_S.DISPATCHING, _S.RUNNING, _S.UNKNOWN):
            call()
            self.trials[number] = replace(trial, status=_S.UNKNOWN)
        else:
            self.refused(call, IllegalMoveError)

    @rule(number=NUMBERS, offset=OFFSETS, status=st.sampled_from(_S))
    def finish(self, number, offset, status):
        """Outcome, state and release are one step; a result delivered again changes nothing."""
        trial = self.trials[number]
        said = {"stopped_because": None, "ended_h": 5.0, "fence": (trial.fence or 0) + offset}
        call = lambda: self.store.finish(SPEC.name, number, status=status, outcome={METRIC: Estimate(1.0)}, **said)  # noqa: E731
        if trial.status.ended:
            assert call().status is trial.status
        elif trial.fence != said["fence"]:
            self.refused(call, StaleFenceError)
        elif not (status.ended and trial.status.holds_channel and status in LEGAL_MOVES[trial.status]):
            self.refused(call, IllegalMoveError)
        else:
            call()
            self.free(trial.channel)
            self.trials[number] = replace(trial, status=status, results=1)

    @rule(number=NUMBERS, to=st.sampled_from(_S))
    def move(self, number, to):
        """A move neither takes nor frees a channel."""
        trial = self.trials[number]
        call = lambda: self.store.move(SPEC.name, number, to, lab_time_h=6.0)  # noqa: E731
        legal = to in LEGAL_MOVES[trial.status] and trial.status.holds_channel == to.holds_channel
        if not legal or (to is _S.RUNNING and trial.run_ref is None):
            self.refused(call, IllegalMoveError)
        else:
            call()
            self.trials[number] = replace(trial, status=to)

    @rule(channel=PLACES)
    def quarantine(self, channel):
        """A channel put aside keeps the trial that is on it."""
        self.store.quarantine(CYCLER, channel, reason="odd", lab_time_h=7.0)
        self.places[channel] = replace(self.places[channel], aside=True)

    @rule(channel=PLACES)
    def release(self, channel):
        """Only a quarantine is lifted."""
        call = lambda: self.store.release(CYCLER, channel, lab_time_h=8.0)  # noqa: E731
        if self.places[channel].state == "held":
            self.refused(call, CampaignError)
        else:
            call()
            self.places[channel] = replace(self.places[channel], aside=False)

    def free(self, channel):
        """The model's channel loses its trial."""
        self.places[channel] = replace(self.places[channel], holder=None)

    def refused(self, call, error):
        """A call raises this kind of error."""
        try:
            call()
        except error:
            return
        raise AssertionError(f"nothing raised {error.__name__}")

    @invariant()
    def the_store_is_as_modelled(self):
        """Trials, channels, and each result once."""
        for trial in self.store.trials(SPEC.name):
            known = self.trials[trial.number]
            fields = (trial.status, trial.attempt, trial.fence, trial.channel, trial.run_ref)
            assert fields == (known.status, known.attempt, known.fence, known.channel, known.run_ref)
            assert len(self.store.outcome_history(SPEC.name, trial.number)) == known.results
        channels = {channel.name: (channel.state, channel.trial, channel.fence) for channel in self.store.channels()}
        assert channels == {name: (place.state, place.holder, place.fence) for name, place in self.places.items()}


TrialStates.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestTortureOfTrialStates = TrialStates.TestCase
