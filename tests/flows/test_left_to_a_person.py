"""What a killed process left at a cycler that cannot be searched: a person looks, and nobody starts it meanwhile."""

from dataclasses import replace

import pytest

from flows import Lab, start_campaign
from flows.bench import Bench
from flows.dispatch import close_intent, reconcile_dispatch
from orchestrator.domain import TrialStatus
from orchestrator.domain.errors import KeyRevokedError
from orchestrator.representation.requests import run_request
from orchestrator.store import NewTrial
from tests.flows.conftest import replay, small_spec


@pytest.fixture
def cycler():
    """It cannot be searched, and its line is down from the second hour on."""
    made = replay(faults=[{"kind": "cycler_unreachable", "at_h": 2.0, "duration_h": 1.0}])
    made.capabilities = replace(made.capabilities, searchable=False)
    return made


@pytest.fixture
def left(folder, cycler):
    """A lab in which a process died between intent and submission: bench, trial and the request it was about to submit."""
    spec = small_spec()
    with Lab.open(folder, cyclers=[cycler]) as lab:
        start_campaign(lab, spec)
        candidate = spec.space.candidate(3)
        lab.store.add_trials("small", [NewTrial(candidate, "x", TrialStatus.APPROVED)], lab_time_h=0.0)
        trial = lab.store.begin_dispatch("small", 1, cycler="replay", channel="1", lab_time_h=0.0)
        bench = Bench(lab, lab.store.campaign("small"), lab.cyclers_for(spec))
        yield bench, trial, run_request(spec, candidate, key=trial.key, channel="1")


@pytest.mark.parametrize("settle", [reconcile_dispatch, lambda bench, trial: close_intent(bench, trial, "amended")])
def test_what_is_left_to_a_person_is_started_by_nobody(left, cycler, settle):
    """A process that was only stalled submits the key hours later, perhaps under limits amended since: nothing starts."""
    bench, trial, request = left
    assert settle(bench, trial).status is TrialStatus.UNKNOWN
    with pytest.raises(KeyRevokedError):
        cycler.submit(request)
    assert cycler.physical_starts() == {}


@pytest.mark.parametrize("settle", [reconcile_dispatch, lambda bench, trial: close_intent(bench, trial, "amended")])
def test_a_silent_cycler_leaves_the_intent_open(left, settle):
    """Until the key is revoked nobody is asked: the next tick tries again."""
    bench, trial, _ = left
    bench.lab.clock.wait_until(2.5)
    assert settle(bench, trial).status is TrialStatus.DISPATCHING
    bench.lab.clock.wait_until(3.5)
    assert settle(bench, trial).status is TrialStatus.UNKNOWN


def test_a_test_that_was_started_after_all_is_adopted(left, cycler):
    """Who cannot search may still be told by the cycler, when it revokes, that the test runs."""
    bench, trial, request = left
    cycler.submit(request)
    assert reconcile_dispatch(bench, trial).status is TrialStatus.RUNNING
