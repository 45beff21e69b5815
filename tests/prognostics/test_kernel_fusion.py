"""Kernel ridge over several views: certified weights, indifferent to a kernel's scale, better than one view when both matter."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.kernel_fusion import MultipleKernelRidge
from orchestrator.prognostics.kernel_fusion_weights import simplex_weights


def two_views(seed, n=80, matter=(1.0, 1.0)):
    """A target that a spectrum and cycling features explain in part each, and noise."""
    rng = np.random.default_rng(seed)
    views = {"eis": rng.normal(size=(n, 3)), "cycling": rng.normal(size=(n, 2))}
    y = matter[0] * np.sin(1.5 * views["eis"][:, 0]) + matter[1] * np.cos(1.5 * views["cycling"][:, 1]) + 0.1 * rng.normal(size=n)
    return views, 5 + y


def rows(views, chosen):
    return {name: values[chosen] for name, values in views.items()}


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_certified(seed):
    """The relative duality gap stays below 1e-6 for few and many kernels, strong and weak ridges, targets of any size."""
    rng = np.random.default_rng(seed)
    n, count, size = int(rng.integers(8, 60)), int(rng.integers(2, 8)), 10.0 ** rng.integers(-6, 6)
    views = {f"v{i}": rng.normal(size=(n, 2)) for i in range(count)}
    y = size * (np.sin(2 * views["v0"][:, 0]) + 0.3 * rng.normal(size=n))
    model = MultipleKernelRidge(10.0 ** rng.uniform(-4, 2), ["rbf", "linear"]).fit(views, y)
    assert model.kkt_gap_ < 1e-6
    assert model.weights_.sum() == pytest.approx(1)
    assert (model.weights_ >= 0).all()
    assert len(model.weights_) == 2 * count


def test_the_gap_is_that_of_the_dual():
    """Recomputed from alpha and the kernels by the dual's own formula; and a general solver finds no lower primal."""
    views, y = two_views(1, n=30)
    model = MultipleKernelRidge(0.3).fit(views, y)
    grams = np.stack([part.gram for part in model._parts.values()])
    alpha, centred = model.dual_coef_, y - y.mean()
    dual = 2 * alpha @ centred - 0.3 * alpha @ alpha - max(alpha @ K @ alpha for K in grams)
    assert (model.objective_ - dual) / model.objective_ == pytest.approx(model.kkt_gap_, abs=1e-10)

    def primal(w):
        return centred @ np.linalg.solve(w * grams[0] + (1 - w) * grams[1] + 0.3 * np.eye(30), centred)

    best = minimize(lambda w: primal(w[0]), [0.5], bounds=[(0, 1)], tol=1e-12)
    assert model.objective_ <= best.fun * (1 + 1e-8)
    assert model.weights_["eis"] == pytest.approx(best.x[0], abs=1e-3)


def test_what_another_kernel_outdoes_weighs_nothing():
    """Two equal kernels beside a tenth of them: exactly 0 for the weak one, and still certified."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, 2))
    K = X @ X.T
    solution = simplex_weights(np.stack([K, K, 0.1 * K]), X[:, 0] - X[:, 0].mean(), 0.1)
    assert solution.gap < 1e-6
    assert solution.weights[2] == 0
    assert solution.weights.sum() == pytest.approx(1)


def test_both_views_beat_the_better_one():
    """Where both matter, fusion has the lower error on new rows than either view alone, in each of five draws."""
    for seed in range(5):
        views, y = two_views(seed, n=160)
        train, test = np.arange(80), np.arange(80, 160)

        def error(names, views=views, y=y, train=train, test=test):
            chosen = {name: views[name] for name in names}
            model = MultipleKernelRidge(0.1).fit(rows(chosen, train), y[train])
            return np.sqrt(np.mean((model.predict(rows(chosen, test)) - y[test]) ** 2))

        assert error(["eis", "cycling"]) < 0.8 * min(error(["eis"]), error(["cycling"]))


def test_a_view_without_meaning_gets_little():
    """Noise beside a view that explains the target weighs less than a tenth."""
    views, y = two_views(3, matter=(1.0, 0.0))
    assert MultipleKernelRidge(0.1).fit(views, y).weights_["cycling"] < 0.1


def test_a_kernels_scale_does_not_matter():
    """One kernel times 1e5, or a view in other units: same weights, same predictions."""
    views, y = two_views(4)
    new = {name: values + 0.1 for name, values in views.items()}
    plain = MultipleKernelRidge(0.1, {"eis": RBF(1.0), "cycling": RBF(2.0)}).fit(views, y)
    scaled = MultipleKernelRidge(0.1, {"eis": lambda A, B: 1e5 * RBF(1.0)(A, B), "cycling": RBF(2.0)}).fit(views, y)
    assert np.asarray(scaled.weights_) == pytest.approx(np.asarray(plain.weights_), abs=1e-6)
    assert scaled.predict(new) == pytest.approx(plain.predict(new), rel=1e-6)
    named = MultipleKernelRidge(0.1).fit(views, y)
    in_mV = MultipleKernelRidge(0.1).fit({**views, "eis": 1e3 * views["eis"]}, y)
    assert in_mV.predict({**new, "eis": 1e3 * new["eis"]}) == pytest.approx(named.predict(new), rel=1e-6)


def test_new_rows_use_the_training_statistics():
    """A row is predicted alike alone and among others, and training rows as the fit itself has them."""
    views, y = two_views(5)
    model = MultipleKernelRidge(0.2, ["eis", "cycling"], length_scale="nearest").fit(views, y)
    together = model.predict(views)
    assert model.predict(rows(views, [7])) == pytest.approx(together[[7]])
    assert together == pytest.approx(y - 0.2 * model.dual_coef_)


def test_length_scales_come_from_the_training_rows():
    """The median distance is that of pairs, the nearest one is shorter, a number is taken as it is."""
    views, y = two_views(6)
    scales = [
        MultipleKernelRidge(0.1, length_scale=rule).fit(views, y).length_scales_["eis"] for rule in ("median", "nearest", 0.7)
    ]
    assert scales[0] > scales[1] > 0
    assert scales[2] == 0.7


def test_it_keeps_scikit_learns_habits_and_repeats_itself():
    """Clone and score; weights by name and by position; a kernel for all views by one name."""
    views, y = two_views(7)
    model = clone(MultipleKernelRidge(0.1, "linear")).fit(views, y, groups=np.arange(80))
    again = MultipleKernelRidge(0.1, "linear").fit(views, y)
    assert np.array_equal(model.predict(views), again.predict(views))
    assert model.score(views, y) < 1
    assert dict(model.weights_.items()) == {"eis": model.weights_[0], "cycling": model.weights_["cycling"]}


def test_what_cannot_be_fused_is_said():
    """A missing or unknown view, rows that differ, NaN, no such kernel, a view that does not vary."""
    views, y = two_views(8)
    model = MultipleKernelRidge(0.1).fit(views, y)
    with pytest.raises(SpecError, match="lacks the view 'cycling'"):
        model.predict({"eis": views["eis"]})
    with pytest.raises(SpecError, match="'thermal' without a kernel"):
        model.predict({**views, "thermal": views["eis"]})
    with pytest.raises(SpecError, match="cycling: has 1 rows; 80 are needed"):
        model.predict({"eis": views["eis"], "cycling": views["cycling"][:1]})
    with pytest.raises(SpecError, match="eis: must be finite"):
        model.fit({**views, "eis": np.full((80, 2), np.nan)}, y)
    with pytest.raises(SpecError, match="does not vary"):
        model.fit({**views, "eis": np.ones((80, 2))}, y)
    with pytest.raises(SpecError, match="is no kernel"):
        MultipleKernelRidge(0.1, {"eis": "cubic"}).fit(views, y)
    with pytest.raises(SpecError, match="lam"):
        MultipleKernelRidge(0.0).fit(views, y)
