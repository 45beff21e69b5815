"""`auto` serves what beat the baseline, with errors that hold, and says nothing of cells it cannot know."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from orchestrator.domain.errors import SpecError
from orchestrator.learning.conformal import coverage_of
from orchestrator.prognostics.cycle_life import LinearCycleLifeRegressor
from orchestrator.prognostics.gate import ComparisonTable
from orchestrator.prognostics.life_models import _on, plain_models
from orchestrator.prognostics.selection import AutoCycleLifeRegressor


def cells(rng, n, noise=0.05, second=0.3):
    """Lives that follow two features of four; the baseline knows the first alone."""
    X = rng.normal(size=(n, 4))
    return X, 10 ** (2.8 + 0.2 * X[:, 0] + second * X[:, 1] + noise * rng.normal(size=n))


def few_models(columns=4):
    return {name: model for name, model in plain_models(columns).items() if name in ("baseline", "ridge", "elastic_net")}


@pytest.fixture(scope="module")
def fitted():
    X, life = cells(np.random.default_rng(0), 50)
    return AutoCycleLifeRegressor(few_models()).fit(X, life)


def test_what_beats_the_baseline_serves(fitted):
    """Models that see the second feature pass, in nested cross-validation too, and are much nearer on new cells."""
    X, life = cells(np.random.default_rng(1), 300)
    assert set(fitted.members_) == {"ridge", "elastic_net"}
    assert fitted.comparison_.row("auto").passes
    assert np.mean(np.abs(np.log10(fitted.predict(X) / life))) < 0.06
    assert fitted.sigma_ == pytest.approx(0.055, abs=0.02)


def test_nothing_better_leaves_the_baseline():
    """Where one feature is all there is, the baseline serves, and the table says why."""
    X, life = cells(np.random.default_rng(2), 30, noise=0.1, second=0.0)
    auto = AutoCycleLifeRegressor(few_models(), folds=5).fit(X, life)
    assert auto.members_ == ("baseline",)
    assert not auto.comparison_.row("auto").passes
    assert [row.model for row in auto.comparison_.rows if row.served] == ["baseline"]


def test_the_table_is_kept_with_the_model(fitted):
    """It goes through JSON, and names the loss and the number of cells."""
    stored = json.loads(json.dumps(fitted.comparison_.as_dict()))
    assert ComparisonTable.from_dict(stored) == fitted.comparison_
    assert stored["loss"].startswith("absolute error of log10")
    assert stored["cells"] == 50


def test_intervals_hold_on_new_cells():
    """Four training sets of 40 cells: 90 % intervals hold 84 to 96 % of 2 000 new cells."""
    rng, inside = np.random.default_rng(3), []
    for seed in range(4):
        X, life = cells(rng, 240)
        auto = AutoCycleLifeRegressor(few_models(), folds=5, seed=seed).fit(X[:40], life[:40])
        inside.append(coverage_of(life[40:], auto.predict_interval(X[40:])))
    assert 0.84 < np.mean(inside) < 0.96


def test_errors_widen_outside_and_predictions_end(fitted):
    """Far cells have wider errors and intervals; beyond the limit there is NaN, with the reason in words."""
    near, far, beyond = np.zeros(4), np.array([0, 0, 9.0, 0]), np.array([0, 0, 99.0, 0])
    X = np.vstack([near, far, beyond, [np.nan, 0, 0, 0]])
    life, std = fitted.predict(X, return_std=True)
    low, high = fitted.predict_interval(X)
    assert std[1] / life[1] > 2 * std[0] / life[0]
    assert high[1] / low[1] > high[0] / low[0]
    assert np.isnan([*life[2:], *std[2:], *low[2:], *high[2:]]).all()
    why = fitted.refusals(X)
    assert why[:2] == [None, None]
    assert "times as far from the nearest training cells" in why[2]
    assert "missing" in why[3]
    assert (np.diff(fitted.unfamiliarity(X)[:3]) > 0).all()


def test_unfamiliar_columns_weigh_less():
    """A cell that is odd in one block alone is foretold by the members that do not look at it."""
    rng = np.random.default_rng(7)
    shared = rng.normal(size=60)
    X = np.column_stack([shared + rng.normal(size=60), shared + 0.05 * rng.normal(size=60), shared + 0.05 * rng.normal(size=60)])
    models = {name: _on([column], LinearCycleLifeRegressor()) for column, name in enumerate(("baseline", "left", "right"))}
    auto = AutoCycleLifeRegressor(models, [[0], [1], [2]], log_target=False, refuse_beyond=np.inf).fit(X, shared)
    assert auto.members_ == ("left", "right")
    assert auto.predict([[0.0, 0.0, 0.0]])[0] == pytest.approx(0.0, abs=0.1)
    assert abs(auto.predict([[0.0, 6.0, 0.0]])[0]) < 1.0


def test_a_new_batch_is_less_sure():
    """Batches that lie apart widen the error of another one by their spread; without batches it cannot be told."""
    rng = np.random.default_rng(8)
    X, life = cells(rng, 80)
    batch = np.repeat(np.arange(8), 10)
    apart = life * 10 ** rng.normal(0, 0.1, size=8)[batch]
    auto = AutoCycleLifeRegressor(few_models(), folds=5).fit(X, apart, batches=batch)
    assert auto.batch_sigma_ == pytest.approx(0.1, abs=0.06)
    known, new = (auto.predict(X, return_std=True, new_batch=new)[1] / auto.predict(X) / np.log(10) for new in (False, True))
    assert new**2 == pytest.approx(known**2 + auto.batch_sigma_**2)
    with pytest.raises(SpecError, match="batches="):
        AutoCycleLifeRegressor(few_models(), folds=3).fit(X, life).predict(X, return_std=True, new_batch=True)
    with pytest.raises(SpecError, match="at least two"):
        AutoCycleLifeRegressor(few_models(), folds=3).fit(X, life, batches=np.zeros(80))


def test_rows_of_a_cell_stay_together():
    """Each cell measured five times with one life: copies do not pass as evidence, errors are those of new cells."""
    rng = np.random.default_rng(4)
    X, life = cells(rng, 24, noise=0.2, second=0.0)
    many = np.repeat(X, 5, axis=0) + 1e-3 * rng.normal(size=(120, 4))
    auto = AutoCycleLifeRegressor(few_models(), folds=4).fit(many, np.repeat(life, 5), groups=np.repeat(np.arange(24), 5))
    assert auto.comparison_.cells == 24
    assert auto.sigma_ > 0.1


def test_a_cell_gone_wrong_is_set_aside():
    """A cell dead at a tenth of what every model expects changes no prediction, is named, and costs nobody the gate."""
    X, life = cells(np.random.default_rng(0), 50)
    life[7] /= 10
    auto = AutoCycleLifeRegressor(few_models()).fit(X, life)
    new, true = cells(np.random.default_rng(1), 300)
    assert auto.set_aside_.tolist() == [7]
    assert auto.comparison_.row("auto").passes
    assert np.mean(np.abs(np.log10(auto.predict(new) / true))) < 0.06


def test_same_cells_same_answer(fitted):
    """Fitted again, it predicts the same to the last bit; parameters survive a clone."""
    X, life = cells(np.random.default_rng(0), 50)
    again = clone(fitted).fit(X, life)
    assert (again.predict(X) == fitted.predict(X)).all()
    assert clone(AutoCycleLifeRegressor(folds=3)).get_params()["folds"] == 3


def test_any_target_without_a_logarithm():
    """Targets below zero are predicted as they are, when asked to."""
    X, life = cells(np.random.default_rng(5), 30)
    auto = AutoCycleLifeRegressor(few_models(), log_target=False, folds=4).fit(X, np.log10(life) - 3)
    mean, std = auto.predict(X, return_std=True)
    assert np.abs(mean - (np.log10(life) - 3)).max() < 0.3
    assert (std > 0).all()
    with pytest.raises(SpecError, match="log_target=False"):
        AutoCycleLifeRegressor(few_models()).fit(X, np.log10(life) - 3)


def test_what_cannot_be_chosen_from_is_said():
    """Seven cells, or no baseline to beat."""
    X, life = cells(np.random.default_rng(6), 9)
    with pytest.raises(SpecError, match="at least 8 cells"):
        AutoCycleLifeRegressor().fit(X[:7], life[:7])
    with pytest.raises(SpecError, match="'baseline'"):
        AutoCycleLifeRegressor({"ridge": plain_models(4)["ridge"]}).fit(X, life)


def test_importing_prognostics_loads_nothing_heavy():
    """Neither torch nor scikit-learn is loaded by the package alone; cycle life needs no torch."""
    code = (
        "import sys, orchestrator.prognostics as p; assert 'torch' not in sys.modules and 'sklearn' not in sys.modules;"
        "p.LinearCycleLifeRegressor; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
