"""Series end where they end: not at an odd cycle, not a cycle late, and never by what came afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.trajectory_curves import Life, capacity_of, checked_series, cut_at_end, given_part, shape_targets

FADE = 1.08 - 0.001 * np.arange(1, 301)


def test_a_life_ends_at_the_first_cycle_below() -> None:
    """1.08 Ah less 1 mAh a cycle is below 0.8795 Ah at cycle 201; nothing later is kept."""
    q, life = cut_at_end(FADE, 0.8795)
    assert life == Life(201.0, True)
    assert len(q) == 201


def test_one_odd_cycle_is_no_end() -> None:
    """A reading of 0.3 Ah at cycle 50 among 1.03 Ah, and NaN beside it."""
    odd = FADE.copy()
    odd[49], odd[50] = 0.3, np.nan
    assert cut_at_end(odd, 0.8795)[1] == Life(201.0, True)


def test_a_file_that_stops_a_cycle_short_ended_there() -> None:
    """It stops at 0.8805 Ah, 1 mAh a cycle: the end of life is the next cycle. At 0.95 Ah it was still alive."""
    assert cut_at_end(FADE[:199], 0.8805)[1] == Life(200.0, True)
    assert cut_at_end(FADE[:130], 0.8805)[1] == Life(130.0, False)


def test_a_flat_series_is_alive() -> None:
    """It lies at the end of life and does not fall: nothing says that it will."""
    assert not cut_at_end(np.full(50, 0.9), 0.88)[1].ended
    assert not cut_at_end(np.full(50, 0.88), 0.88)[1].ended


def test_what_is_given_does_not_know_what_follows() -> None:
    """Any future, the same beginning."""
    other = np.concatenate([FADE[:100], np.random.default_rng(0).normal(size=50)])
    a, b = given_part(FADE, 100, 0.88), given_part(other, 100, 0.88)
    np.testing.assert_array_equal(a.sequence, b.sequence)
    np.testing.assert_array_equal(a.summary, b.summary)
    assert a.level_Ah == b.level_Ah == pytest.approx(0.982)


def test_the_unit_of_capacity_does_not_matter() -> None:
    """Ah or mAh, the encoder reads the same."""
    a, b = given_part(FADE, 100, 0.88), given_part(1000 * FADE, 100, 880.0)
    np.testing.assert_allclose(a.sequence, b.sequence, atol=1e-12)
    np.testing.assert_allclose(a.summary, b.summary, atol=1e-12)


def test_shapes_run_from_the_level_to_the_end_of_life() -> None:
    """A straight fade is a straight line from 1 to 0, and back to the capacities it came from."""
    q, life = cut_at_end(FADE, 0.88)
    given = given_part(q, 100, 0.88)
    z = shape_targets(q, life, 0.0, given, 10)
    np.testing.assert_allclose(z, 1 - np.arange(1, 11) / 10, atol=0.03)
    back = capacity_of(np.append(1.0, z), np.arange(1, 11) / 10, given.level_Ah, 0.88)
    np.testing.assert_allclose(
        back, np.interp(100 + np.arange(1, 11) / 10 * (life.cycles - 100), np.arange(1, 202), q), atol=1e-3
    )


def test_where_nobody_looked_there_is_no_target() -> None:
    """A cell last seen half way to the life that is expected of it: NaN from there on."""
    q, life = cut_at_end(FADE[:150], 0.88)
    z = shape_targets(q, life, 200.0, given_part(q, 100, 0.88), 10)
    assert np.isfinite(z[:5]).all()
    assert np.isnan(z[5:]).all()


def test_behind_the_end_of_life_the_mean_slope_goes_on() -> None:
    """Not the steep last one, since nothing was learned there; and never below nothing."""
    q = capacity_of(np.array([1.0, 0.6, 0.0]), np.array([0.5, 1.0, 1.5, 100.0]), 1.08, 0.88)
    np.testing.assert_allclose(q, [1.0, 0.88, 0.78, 0.0])


def test_what_is_no_series_is_named() -> None:
    """Every one of them, at once."""
    with pytest.raises(SpecError) as refused:
        checked_series([FADE, FADE[:3], np.zeros((5, 5))], "series")
    assert [fault.where for fault in refused.value.faults] == ["series[1]", "series[2]"]
