"""Two hundred seeds of the torture, and that a seed replays exactly."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.plans import POINTS, plan_of
from tests.torture.simulation import simulate

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 25


@pytest.mark.parametrize("first", range(0, 200, CHUNK), ids=lambda first: f"torture-{first}-to-{first + CHUNK - 1}")
def test_torture_seeds_keep_every_promise(first):
    """Nothing starts twice or on a busy channel or against today's limits; no result is lost or counted twice; campaigns end."""
    broken = [f"seed {r.seed}: {r.violation}" for r in map(simulate, range(first, first + CHUNK)) if r.violation]
    assert not broken, "\n".join(broken)


def test_torture_seed_replays_exactly():
    """Two runs of a seed give the same trace, in another process with other hash seeds, too."""
    for seed in (0, 3, 4, 11):
        trace = simulate(seed, traced=True).trace
        assert len(trace) > 100
        assert trace == simulate(seed, traced=True).trace
    command = [sys.executable, "-m", "tests.torture", "--seed", "11", "--trace"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONHASHSEED": "7"})
    assert told.stdout.splitlines()[:-1] == trace


def test_torture_seeds_go_through_every_point():
    """A thousand seeds crash and stall at each of the first points of a run, once each."""
    plans = [plan_of(seed) for seed in range(1000)]
    for family in ("crash_at", "stall_at"):
        assert sorted(plan.point for plan in plans if plan.family == family) == list(range(POINTS))
