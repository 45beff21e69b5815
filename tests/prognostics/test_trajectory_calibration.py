"""The scale of errors is the smallest that keeps its promise over cells, whatever their lengths."""

from __future__ import annotations

import numpy as np

from orchestrator.prognostics.trajectory_calibration import curve_of, missed_share_scale
from orchestrator.prognostics.trajectory_curves import given_part
from orchestrator.prognostics.trajectory_ensemble import Beliefs

GIVEN = given_part(1.08 - 0.0001 * np.arange(100), 100, 0.88)


def beliefs(log_life: list[float], spread: float) -> Beliefs:
    """Straight fades to some lives."""
    shape = np.broadcast_to(np.linspace(1, 0, 5), (len(log_life), 1, 5))
    return Beliefs(np.array(log_life)[:, None], np.full((len(log_life), 1), spread), shape)


def test_the_scale_is_the_smallest_that_misses_a_tenth() -> None:
    """Checked against every candidate; a long cell counts no more than a short one."""
    rng = np.random.default_rng(0)
    ratios = [np.abs(rng.normal(size=n)) * rng.uniform(0.5, 2) for n in rng.integers(5, 500, 30)]
    scale = missed_share_scale(ratios)

    def missed(k: float) -> float:
        return (sum(np.mean(each > k) for each in ratios) + 1) / 31

    assert missed(scale) <= 0.1 + 1e-12
    below = np.concatenate(ratios)
    assert missed(below[below < scale].max()) > 0.1


def test_few_cells_promise_nothing_and_get_the_largest_seen() -> None:
    """Five cells cannot show nine tenths."""
    assert missed_share_scale([np.array([0.1, float(k)]) for k in range(1, 6)]) == 5.0


def test_the_scale_holds_on_new_cells() -> None:
    """Over 200 worlds of 20 cells, the share missed of a new one is at most a tenth, and not far below."""
    rng = np.random.default_rng(1)
    missed = []
    for _ in range(200):
        cells = [np.abs(rng.normal(size=50)) * rng.lognormal(0, 0.5) for _ in range(21)]
        missed.append(np.mean(cells[-1] > missed_share_scale(cells[:-1])))
    assert 0.03 < np.mean(missed) < 0.12


def test_disagreement_and_doubt_widen_a_curve() -> None:
    """Members that differ, or a prior that is unsure, make the spread larger, most where the curve is steep or late."""
    cycles = np.arange(101.0, 600.0)
    sure = curve_of(beliefs([6.2, 6.2], 0.01), GIVEN, cycles)
    apart = curve_of(beliefs([6.0, 6.4], 0.01), GIVEN, cycles)
    unsure = curve_of(beliefs([6.2, 6.2], 0.2), GIVEN, cycles)
    assert sure.life == apart.life == unsure.life
    np.testing.assert_allclose(apart.mean_Ah, sure.mean_Ah)
    assert (apart.raw_Ah > sure.raw_Ah).all()
    assert (unsure.raw_Ah > sure.raw_Ah).all()
    assert (np.diff(unsure.raw_Ah) > 0).all()
    assert apart.log_sd > sure.log_sd
