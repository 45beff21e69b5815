"""Each mutant of the shipped code is caught by the torture, within a hundred seeds."""

import pytest

from tests.torture import mutants
from tests.torture.simulation import simulate
from tests.torture.world import UNEXPECTED

SEEDS = 100
# Seeds that have caught those that are hardest to catch; they are tried first.
TRIED_FIRST = {
    "unfenced_writes": 34,
    "intent_not_confirmed": 51,
    "result_delivered_twice_counted_twice": 12,
    "release_without_fence": 40,
    "amendment_ignored_by_queued_candidates": 31,
    "withdrawal_without_revoking": 16,
    "channel_leaked_by_withdrawal": 16,
    "lease_not_atomic": 6,
    "safety_checked_only_at_proposal": 6,
    "unknown_taken_for_not_started": 5,
}


@pytest.mark.parametrize("mutant", [*mutants.ASKED, *mutants.FURTHER], ids=lambda mutant: f"mutant-{mutant.__name__}")
def test_mutant_is_caught(mutant):
    """The simulation sees what this fault breaks."""
    for seed in sorted(range(SEEDS), key=lambda seed: seed != TRIED_FIRST.get(mutant.__name__)):
        result = simulate(seed, mutant=mutant())
        if result.violation:
            assert result.invariant != UNEXPECTED, f"the mutant itself is at fault: {result.violation}"
            print(f"{mutant.__name__} was caught by seed {seed}: {result.violation.splitlines()[-1]}")  # noqa: T201 - for the record
            return
    pytest.fail(f"{mutant.__name__} was not caught by {SEEDS} seeds")
