"""Trajectories never rise, say when they do not know, hold for cells not learned from, and read nothing they should not."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.trajectory import CapacityTrajectoryForecaster

Array = NDArray[np.float64]
GIVEN = 40


class Fades:
    """Synthetic cells: a knee late in a life of 120 to 500 cycles; one feature foretells the life to 5 %."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.life = np.exp(rng.uniform(np.log(120), np.log(500), count))
        cycles = np.arange(1, 1200)[None] / self.life[:, None]
        fade = 0.05 * cycles + 0.15 * np.exp(np.minimum((cycles - 1) * 8, 3))
        self.whole = 1.08 - fade + 0.0005 * rng.standard_normal(fade.shape)
        self.series = [q[: int(life) + 8] for q, life in zip(self.whole, self.life, strict=True)]
        self.features = np.log(self.life)[:, None] + 0.05 * rng.standard_normal((count, 1))
        self.given = [q[:GIVEN] for q in self.series]


def forecaster(**settings: object) -> CapacityTrajectoryForecaster:
    """A small one."""
    small = {"given_cycles": GIVEN, "folds": 4, "members": 1, "hidden": 6, "epochs": 40}
    return CapacityTrajectoryForecaster(**{**small, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fades() -> Fades:
    return Fades(28, seed=1)


@pytest.fixture(scope="module")
def new() -> Fades:
    return Fades(12, seed=2)


@pytest.fixture(scope="module")
def model(fades: Fades) -> CapacityTrajectoryForecaster:
    return forecaster().fit(fades.series, fades.features)


def test_new_cells_are_foretold_and_never_rise(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """Ends of life within 10 % in the mean (knowing nothing: 40 %), 12 mAh along the way, not one step up."""
    forecasts = model.predict(new.given, 900, new.features)
    ends = np.array([f.eol_mean for f in forecasts])
    assert np.mean(abs(ends - new.life) / new.life) < 0.10
    for f, whole, life in zip(forecasts, new.whole, new.life, strict=True):
        assert f.cycles[0] == GIVEN + 1
        assert len(f.cycles) == len(f.mean) == len(f.std) == 900
        assert (np.diff(f.mean) <= 0).all()
        assert (f.std > 0).all()
        assert f.mean.min() >= 0
        assert np.sqrt(np.mean((f.mean - whole[GIVEN : GIVEN + 900])[: int(life) - GIVEN] ** 2)) < 0.04


def test_the_end_of_life_is_where_the_curve_is_at_the_end(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """The mean curve passes 0.88 Ah in the cycle of `eol_mean`."""
    for f in model.predict(new.given, 900, new.features):
        below = int(f.cycles[np.argmax(f.mean <= 0.88)])
        assert below == int(np.ceil(f.eol_mean))


def test_an_end_behind_the_horizon_is_not_made_up(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """Censored, and NaN for its time; with a horizon that reaches it, a time with an error."""
    short, long = (model.predict(new.given, horizon, new.features) for horizon in (30, 900))
    assert all(f.censored and np.isnan(f.eol_mean) and np.isnan(f.eol_std) for f in short)
    assert not any(f.censored for f in long)
    assert all(f.eol_std > 0 for f in long)


def test_what_is_asked_later_changes_nothing_earlier(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """A longer horizon leaves the first cycles as they were."""
    short, long = (model.predict(new.given, horizon, new.features) for horizon in (60, 400))
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a.mean, b.mean[:60])
        np.testing.assert_array_equal(a.std, b.std[:60])


def test_nothing_behind_the_end_of_life_is_read(fades: Fades, new: Fades, model: CapacityTrajectoryForecaster) -> None:
    """Readings after the first cycle below 0.88 Ah may be 1e9, NaN, or a recovered cell: forecasts are the same, bit for bit."""
    rng = np.random.default_rng(0)
    other = []
    for q in fades.series:
        end = int(np.argmax(q < 0.88)) + 1
        other.append(np.concatenate([q[:end], rng.choice([1e9, np.nan, 1.08], size=50)]))
    again = forecaster().fit(other, fades.features).predict(new.given, 300, new.features)
    for a, b in zip(again, model.predict(new.given, 300, new.features), strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.std, b.std)


def test_the_same_fit_twice_is_the_same(fades: Fades, new: Fades, model: CapacityTrajectoryForecaster) -> None:
    """Whatever was drawn before, and nothing is left behind in torch's generator or threads."""
    torch.manual_seed(99)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = forecaster().fit(fades.series, fades.features).predict(new.given, 300, new.features)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    for a, b in zip(again, model.predict(new.given, 300, new.features), strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)


def test_a_stored_forecaster_says_the_same(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """Pickled and read again."""
    again = pickle.loads(pickle.dumps(model))  # noqa: S301 - written two lines above
    for a, b in zip(again.predict(new.given, 60, new.features), model.predict(new.given, 60, new.features), strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.std, b.std)


def test_errors_hold_for_new_cells(model: CapacityTrajectoryForecaster) -> None:
    """Mean +- 1.645 std holds nine tenths of new cells' cycles and ends, and is not wide for nothing."""
    many = Fades(40, seed=3)
    inside, ends, ratios = [], [], []
    for f, whole, life in zip(model.predict(many.given, 900, many.features), many.whole, many.life, strict=True):
        asked = int(life) - GIVEN
        inside.append(np.mean(abs(f.mean - whole[GIVEN : GIVEN + 900])[:asked] <= 1.645 * f.std[:asked]))
        ratios.append(np.mean(((f.mean - whole[GIVEN : GIVEN + 900]) / f.std)[:asked] ** 2))
        ends.append(abs(f.eol_mean - life) <= 1.645 * f.eol_std)
    assert np.mean(inside) >= 0.85
    assert np.mean(ends) >= 0.85
    assert np.mean(ratios) > 0.1


def test_cells_still_alive_do_not_shorten_lives(fades: Fades, new: Fades) -> None:
    """Half of the cells are cut off in mid-life: foretold lives stay within 10 % of the truth in the mean."""
    cut = [q[: int(life * 0.6)] if i % 2 else q for i, (q, life) in enumerate(zip(fades.series, fades.life, strict=True))]
    ends = np.array([f.eol_mean for f in forecaster().fit(cut, fades.features).predict(new.given, 2000, new.features)])
    assert abs(np.mean(np.log(ends / new.life))) < 0.10


def test_what_is_said_of_a_cell_left_out_does_not_come_from_it(fades: Fades) -> None:
    """One cell's future is made twice as long: what is said of it with itself left out moves by less than 5 %."""
    longer = [*fades.series[:-1], np.concatenate([fades.series[-1][:GIVEN], np.repeat(fades.series[-1][GIVEN:], 2)])]
    one, two = (forecaster(folds=len(longer), epochs=4).fit(s, fades.features) for s in (fades.series, longer))
    assert len(one.left_out_) == len(one.left_out_rows_) == len(longer)
    assert two.left_out_[-1].eol_mean == pytest.approx(one.left_out_[-1].eol_mean, rel=0.05)


def test_lives_of_different_lengths_are_asked_together(fades: Fades, new: Fades) -> None:
    """Cells after 30 and 60 cycles, in one call or one by one: the same forecasts."""
    both = forecaster(given_cycles=(30, 60)).fit(fades.series, fades.features)
    assert sorted({given for _, given in both.left_out_rows_}) == [30, 60]
    asked = [new.series[0][:30], new.series[1][:60], new.series[2][:47]]
    together = both.predict(asked, 100, new.features[:3])
    for i, f in enumerate(together):
        alone = both.predict([asked[i]], 100, new.features[i : i + 1])[0]
        assert f.cycles[0] == len(asked[i]) + 1
        np.testing.assert_allclose(f.mean, alone.mean, rtol=1e-9)


def test_less_than_was_learned_from_widens_the_error(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """Asked after 10 cycles where 40 were learned from, the error is at least doubled in share."""
    early, usual = (model.predict([new.series[0][:n]], 900, new.features[:1])[0] for n in (10, GIVEN))
    assert early.eol_std / early.eol_mean > 1.5 * usual.eol_std / usual.eol_mean


def test_strange_cells_widen_the_error(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """A feature far outside of what was learned from is not believed as surely."""
    usual, strange = model.predict([new.given[0]] * 2, 20_000, np.array([new.features[0], new.features[0] + 1.5]))
    assert strange.eol_std / strange.eol_mean > 1.1 * usual.eol_std / usual.eol_mean


def test_gaps_and_odd_cycles_do_not_matter_much(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """A missing first cycle and one reading of 2.88 Ah move the end of life by less than 5 %."""
    odd = new.given[0].copy()
    odd[0], odd[20] = np.nan, 2.88
    a, b = model.predict([new.given[0], odd], 900, new.features[[0, 0]])
    assert b.eol_mean == pytest.approx(a.eol_mean, rel=0.05)


def test_a_cell_that_is_dead_already_stays_so(model: CapacityTrajectoryForecaster, new: Fades) -> None:
    """Its end of life lies behind it, and nothing is foretold but its level."""
    q, life = new.whole[0], new.life[0]
    f = model.predict([q[: int(life) + 20]], 50, new.features[:1])[0]
    assert f.eol_mean <= life + 2
    assert not f.censored
    assert (f.mean == f.mean[0]).all()


def test_without_features_the_given_cycles_must_do(fades: Fades, new: Fades) -> None:
    """Nothing but capacities is needed."""
    forecasts = forecaster().fit(fades.series).predict(new.given, 300)
    assert all(np.isfinite(f.mean).all() for f in forecasts)


def test_what_cannot_be_learned_from_is_refused(fades: Fades, new: Fades, model: CapacityTrajectoryForecaster) -> None:
    """Too few ends of life, features of another shape, no future, hardly any readings: each names itself."""
    with pytest.raises(SpecError, match=r"0 cells that reached 0\.1 Ah"):
        forecaster(end_of_life_Ah=0.1).fit(fades.series)
    with pytest.raises(SpecError, match="features"):
        model.predict(new.given, 10)
    with pytest.raises(SpecError, match="features"):
        forecaster().fit(fades.series, fades.features[:3])
    with pytest.raises(SpecError, match="horizon"):
        model.predict(new.given, 0, new.features)
    with pytest.raises(SpecError, match=r"series\[1\]"):
        model.predict([new.given[0], np.full(40, np.nan)], 10, new.features[:2])
    with pytest.raises(SpecError, match="given_cycles"):
        forecaster(given_cycles=()).fit(fades.series)


def test_the_package_does_not_load_torch() -> None:
    """`import orchestrator.prognostics` is cheap; torch comes with the forecaster."""
    code = "import sys, orchestrator.prognostics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
