"""The replay cycler keeps a cycler's promises: idempotent, searchable, durable, in virtual time."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.replay import ReplayCycler
from orchestrator.domain import Candidate, Cycler, Estimate, RunRef, RunRequest, RunState, SpecError, VirtualClock
from orchestrator.domain.cell_design import GENERIC
from orchestrator.domain.cycler import KnowsTruth, LabBound, VirtualTimeCycler
from orchestrator.domain.errors import ChannelBusyError, RequestRefusedError
from orchestrator.representation.charging import cc_cv

ROWS = [{"id": f"p{i}", "C1": 3.0 + i, "life": 1000.0 - 50 * i, "hours": 10.0 + i} for i in range(6)]


def cycler(folder, clock=None, **changes) -> ReplayCycler:
    options = {"noise_sd": 20.0, "duration_h": "hours", "channels": 3, **changes}
    return ReplayCycler(ROWS, {"cycle_life": "life"}, folder=folder, clock=clock or VirtualClock(), **options)


def request(row=0, channel="1", key=None) -> RunRequest:
    candidate = Candidate({"C1": 3.0 + row}, f"p{row}")
    return RunRequest(key or f"camp/{row}/1", channel, candidate, GENERIC, cc_cv(candidate, GENERIC), max_cycles=100)


def test_it_is_a_cycler_that_lives_in_virtual_time(tmp_path):
    """The protocols of the domain are kept."""
    made = cycler(tmp_path)
    assert isinstance(made, Cycler)
    assert isinstance(made, VirtualTimeCycler)
    assert isinstance(made, KnowsTruth)
    assert isinstance(made, LabBound)


def test_a_run_ends_when_its_time_has_come_with_the_row_s_value_and_its_noise(tmp_path):
    """Running before, finished after; the result carries the noise's standard deviation, the truth none."""
    clock = VirtualClock()
    made = cycler(tmp_path, clock)
    ref = made.submit(request(2))
    assert (made.status(ref).state, made.next_end_h()) == (RunState.RUNNING, 12.0)
    clock.wait_until(12.0)
    status = made.status(ref)
    assert (status.state, status.started_h, status.ended_h) == (RunState.FINISHED, 0.0, 12.0)
    assert status.results["cycle_life"].sem == 20.0
    assert 0 < abs(status.results["cycle_life"].mean - 900.0) < 100
    assert made.truth(ref).results["cycle_life"] == Estimate(900.0)
    assert made.next_end_h() is None


def test_a_key_starts_once_however_often_and_from_wherever_it_is_submitted(tmp_path):
    """Threads, a second object and a reopened folder all find the one run there is."""
    first, second = cycler(tmp_path), cycler(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        refs = set(pool.map(lambda i: (first, second)[i % 2].submit(request()), range(40)))
    assert len(refs) == 1
    assert cycler(tmp_path).find("camp/0/1") == refs.pop()
    assert cycler(tmp_path).physical_starts() == {"camp/0/1": 1}


def test_a_busy_channel_an_unknown_row_and_another_content_are_refused(tmp_path):
    """Each refusal starts nothing and says why."""
    made = cycler(tmp_path)
    made.submit(request(0))
    with pytest.raises(ChannelBusyError, match="channel 1 is busy with the run 'camp/0/1'"):
        made.submit(request(1))
    with pytest.raises(RequestRefusedError, match="Keys are never used again"):
        made.submit(request(3, channel="2", key="camp/0/1"))
    with pytest.raises(RequestRefusedError, match="has no channel '9'"):
        made.submit(request(1, channel="9"))
    with pytest.raises(RequestRefusedError, match="has no row for"):
        made.submit(RunRequest("k", "2", Candidate({"C1": 99.0}), GENERIC, request().protocol, 1))
    assert made.physical_starts() == {"camp/0/1": 1}


def test_stop_and_emergency_stop_end_runs_and_are_repeatable(tmp_path):
    """A stopped run has no result and frees its channel."""
    made = cycler(tmp_path)
    ref = made.submit(request(0))
    made.stop(ref, "cell leaks")
    made.stop(ref, "again")
    assert (made.status(ref).state, made.status(ref).reason, made.status(ref).results) == (RunState.STOPPED, "cell leaks", {})
    others = [made.submit(request(1, "1")), made.submit(request(2, "2"))]
    made.emergency_stop("2")
    assert [made.status(r).state for r in others] == [RunState.RUNNING, RunState.STOPPED]
    made.emergency_stop()
    assert made.status(others[0]).state is RunState.STOPPED


def test_an_unknown_reference_is_unknown(tmp_path):
    """Neither running nor failed: nobody ever started it here."""
    assert cycler(tmp_path).status(RunRef("replay", "x", "1", "x")).state is RunState.UNKNOWN
    assert cycler(tmp_path).find("x") is None


def test_a_line_torn_by_a_crash_is_forgotten_and_does_no_harm(tmp_path):
    """What was never acknowledged never happened; the next start is written whole."""
    cycler(tmp_path).submit(request(0))
    with (tmp_path / "runs.jsonl").open("ab") as stream:
        stream.write(b'{"event": "start", "at_h"')
    again = cycler(tmp_path)
    again.submit(request(1, "2"))
    assert cycler(tmp_path).physical_starts() == {"camp/0/1": 1, "camp/1/1": 1}


def test_noise_depends_on_key_and_seed_alone(tmp_path):
    """The same key gives the same noise in any folder; another key or seed another."""

    def result(folder, seed, key):
        clock = VirtualClock()
        made = cycler(folder, clock, seed=seed)
        ref = made.submit(request(0, key=key))
        clock.wait_until(100.0)
        return made.status(ref).results["cycle_life"].mean

    assert result(tmp_path / "a", 1, "k") == result(tmp_path / "b", 1, "k")
    assert len({result(tmp_path / "c", 1, "k2"), result(tmp_path / "d", 2, "k"), result(tmp_path / "e", 1, "k")}) == 3


def _with(**cells):
    """The table with a column that is one everywhere but in row 2."""
    return [{**row, **{name: cell if i == 2 else 1.0 for name, cell in cells.items()}} for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"table": []}, "holds no rows"),
        ({"table": "/no/such.csv"}, "there is no file"),
        ({"target": "glory"}, "'glory' is not a column"),
        ({"noise_sd": -1.0}, "noise_sd: must be a finite number >= 0"),
        ({"channels": 0}, "channels: must be at least one"),
        ({"duration_h": "days"}, "duration_h: 'days' is not a column"),
        ({"channels": ["1", "2", "1"]}, "channels: must be at least one, with names that differ"),
        *[({"duration_h": h}, "duration_h: must be a finite number of hours above 0") for h in (-5.0, 0.0, math.inf, math.nan)],
        *[({"duration_h": "days", "table": _with(days=d)}, "table row 2.*'days'") for d in (-5.0, 0.0, math.inf, math.nan)],
        *[({"table": _with(life=life)}, "table row 2.*'life'") for life in (math.inf, math.nan, None, "long")],
    ],
)
def test_wrong_settings_are_named(changes, named):
    """Nothing is replayed from a table that cannot be."""
    with pytest.raises(SpecError, match=named):
        ReplayCycler(**{"table": ROWS, "target": "life", **changes})
