"""Several views of a cell in one regression: kernel ridge over a sum of kernels whose weights are learned with it.

    min over w >= 0, sum w = 1  of   y' (sum_k w_k K_k + lam I)^-1 y          (multiple kernel ridge, y centred)
    dual:  max over alpha  of   2 alpha'y - lam alpha'alpha - max_k alpha'K_k alpha

The simplex formulation of Lanckriet et al. (JMLR 5 (2004) 27) and Bach, Lanckriet and Jordan (ICML 2004), for the squared loss as
in Cortes, Mohri and Rostamizadeh (UAI 2009). The primal is convex in w, and the gap between the two certifies the weights found
(kernel_fusion_weights.py). Weights say which views the predictor uses under an RKHS norm; they are no shares of the response's
variance (truth 0.8/0.2 gives about 0.65/0.35).

Every kernel is centred in feature space and divided by its mean diagonal, with the statistics of the training rows, also for new
rows; so lam counts in the same unit for every view, and a kernel's own scale does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.seeding import one_thread
from orchestrator.prognostics.kernel_fusion_weights import simplex_weights

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
Views = Mapping[str, ArrayLike]

NAMED_KERNELS = ("rbf", "linear")


class KernelWeights(np.ndarray[Any, np.dtype[np.float64]]):
    """Weights in the order of the kernels, shape (kernels,), also read by name: `weights["eis"]`, `dict(weights.items())`."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], values: Array) -> KernelWeights:
        """Name the entries of an array."""
        made = np.asarray(values, dtype=np.float64).view(cls)
        made.names = tuple(names)
        return made

    def __array_finalize__(self, source: Any) -> None:
        self.names = getattr(source, "names", ())

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return np.asarray(self)[key]
        if key not in self.names:
            raise KeyError(f"no kernel {key!r}; there are {', '.join(self.names)}")
        return float(np.asarray(self)[self.names.index(key)])

    def keys(self) -> tuple[str, ...]:
        """The kernels' names."""
        return self.names

    def values(self) -> list[float]:
        """The weights as plain numbers."""
        return [float(weight) for weight in np.asarray(self)]

    def items(self) -> list[tuple[str, float]]:
        """Names with weights."""
        return list(zip(self.names, self.values(), strict=True))


class MultipleKernelRidge(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Kernel ridge over views of the same cells, with weights on the simplex learned jointly and certified.

    Args:
        lam: ridge, > 0, on kernels of mean diagonal 1 over the training rows.
        kernels: for each view `"rbf"`, `"linear"` (both on columns standardised over the training rows), or a function
            (A (n, d), B (m, d)) -> (n, m) of the view as given; or a list of such, one kernel each, named `view:kernel`. One name
            alone holds for every view; a list of views' names means `"rbf"` for each. None: `"rbf"` for every view given.
        length_scale: of `"rbf"`: `"median"` distance between training rows, `"nearest"` (median distance to the nearest other
            training row), or a number in standard deviations.

    Attributes:
        weights_: of the kernels, shape (kernels,), >= 0, sum 1; read by position or by name.
        kkt_gap_: the duality gap, relative to the primal objective.
        objective_: the primal objective, in the target's unit squared.
        length_scales_: of the `"rbf"` kernels, by name.
        dual_coef_: alpha, shape (n,).

    Example:
        >>> model = MultipleKernelRidge(0.1, {"eis": "rbf", "cycling": "rbf"}).fit({"eis": Z, "cycling": F}, y)  # doctest: +SKIP
        >>> model.weights_["eis"], model.predict({"eis": Z_new, "cycling": F_new})  # doctest: +SKIP
    """

    def __init__(self, lam: float = 0.1, kernels: Any = None, *, length_scale: str | float = "median") -> None:
        self.lam = lam
        self.kernels = kernels
        self.length_scale = length_scale

    def fit(self, X: Views, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to views of the same rows.

        Args:
            X: by view's name, each of shape (n, columns of that view), finite.
            y: targets, shape (n,).
            groups: accepted for the common signature; nothing here is held out.

        Raises:
            SpecError: a view missing or unknown, rows that do not fit, NaN, an unknown kernel, or `lam` not above 0.
        """
        if not (np.isfinite(self.lam) and self.lam > 0):
            raise SpecError(Fault("lam", f"must be a number > 0 (got {self.lam})."))
        chosen = self._kernels_by_view(X)
        targets = np.asarray(y, dtype=np.float64)
        if targets.ndim != 1 or len(targets) < 2 or not np.isfinite(targets).all():
            raise SpecError(Fault("y", f"must be at least two finite targets of shape (n,) (got shape {targets.shape})."))
        views = _checked_views(X, list(chosen), len(targets))
        self._parts = {
            (view if len(kernels) == 1 else f"{view}:{_kernel_name(kernel)}"): _Part.fitted(
                view, kernel, views[view], self.length_scale
            )
            for view, kernels in chosen.items()
            for kernel in kernels
        }
        grams = np.stack([part.gram for part in self._parts.values()])
        self._level = float(targets.mean())
        with one_thread():
            solution = simplex_weights(grams, targets - self._level, self.lam)
        self.weights_ = KernelWeights.of(list(self._parts), solution.weights)
        self.kkt_gap_, self.objective_, self.dual_coef_ = solution.gap, solution.objective, solution.alpha
        self.length_scales_ = {name: part.length_scale for name, part in self._parts.items() if part.length_scale is not None}
        self.views_ = tuple(chosen)
        return self

    def predict(self, X: Views) -> Array:
        """Targets of new rows.

        Args:
            X: the same views, each of shape (m, its columns).

        Returns:
            Shape (m,).

        Raises:
            SpecError: a view missing, rows that do not fit, other columns than in training, or NaN.
        """
        check_is_fitted(self, "weights_")
        views = _checked_views(X, self.views_, None)
        weighed = zip(self._parts.values(), self.weights_.values(), strict=True)
        kernel = sum(weight * part.between(views[part.view]) for part, weight in weighed)
        made: Array = self._level + kernel @ self.dual_coef_
        return made

    def _kernels_by_view(self, X: Any) -> dict[str, tuple[Any, ...]]:
        """The kernels of each view, from every way of stating them."""
        if not isinstance(X, Mapping) or not X:
            raise SpecError(Fault("X", "must be a mapping of views, such as {'eis': X1, 'cycling': X2}."))
        given = self.kernels
        if given is None or isinstance(given, str) or callable(given):
            given = dict.fromkeys(X, "rbf" if given is None else given)
        elif not isinstance(given, Mapping):
            names = list(given)
            given = dict.fromkeys(names, "rbf") if set(names) <= set(X) else dict.fromkeys(X, names)
        chosen = {view: tuple(each) if isinstance(each, list | tuple) else (each,) for view, each in given.items()}
        unknown = [k for each in chosen.values() for k in each if not callable(k) and k not in NAMED_KERNELS]
        if unknown or not all(chosen.values()):
            raise SpecError(
                Fault(
                    "kernels", f"{unknown or 'an empty list'} is no kernel.", f"Known: {', '.join(NAMED_KERNELS)}, or a function."
                )
            )
        return chosen


class _Part(NamedTuple):
    """One kernel of one view, centred and normalised by the training rows."""

    view: str
    kernel: Kernel
    length_scale: float | None
    rows: Array
    row_means: Array
    trace: float
    gram: Array

    @classmethod
    def fitted(cls, view: str, kernel: Any, rows: Array, length_scale: str | float) -> _Part:
        function, length = (kernel, None) if callable(kernel) else _named_kernel(kernel, rows, length_scale)
        raw = _evaluated(function, rows, rows, view)
        means = raw.mean(axis=0)
        centred = raw - means - means[:, None] + means.mean()
        trace = float(np.trace(centred)) / len(rows)
        if not trace > 1e-12 * float(np.abs(raw).max(initial=0.0)):
            raise SpecError(Fault(view, "does not vary over the training rows, as its kernel sees them.", "Leave the view out."))
        return cls(view, function, length, rows, means, trace, (centred + centred.T) / (2 * trace))

    def between(self, rows: Array) -> Array:
        """The kernel of new rows with the training rows, shape (m, n)."""
        if rows.shape[1] != self.rows.shape[1]:
            raise SpecError(Fault(self.view, f"has {rows.shape[1]} columns; the model learned from {self.rows.shape[1]}."))
        raw = _evaluated(self.kernel, rows, self.rows, self.view)
        made: Array = (raw - raw.mean(axis=1)[:, None] - self.row_means + self.row_means.mean()) / self.trace
        return made


def _named_kernel(name: str, rows: Array, length_scale: str | float) -> tuple[Kernel, float | None]:
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 1e-12 * np.abs(centre), spread, np.inf)

    def standard(values: Array) -> Array:
        made: Array = (values - centre) / spread
        return made

    if name == "linear":
        return lambda A, B: standard(A) @ standard(B).T, None
    length = _length_scale(standard(rows), length_scale)
    return lambda A, B: np.exp(-cdist(standard(A), standard(B), "sqeuclidean") / (2 * length**2)), length


def _length_scale(rows: Array, rule: str | float) -> float:
    """A length over the training rows; pairs of equal rows do not count."""
    if not isinstance(rule, str):
        if not (np.isfinite(rule) and rule > 0):
            raise SpecError(Fault("length_scale", f"must be above 0 (got {rule})."))
        return float(rule)
    if rule not in ("median", "nearest"):
        raise SpecError(Fault("length_scale", f"must be 'median', 'nearest' or a number (got {rule!r})."))
    apart = cdist(rows, rows)
    apart[apart < 1e-9] = np.nan
    if np.isnan(apart).all():
        return 1.0
    if rule == "median":
        return float(np.nanmedian(apart))
    return float(np.median(np.nanmin(np.where(np.isnan(apart), np.inf, apart), axis=1)))


def _evaluated(kernel: Kernel, A: Array, B: Array, view: str) -> Array:
    values = np.asarray(kernel(A, B), dtype=np.float64)
    if values.shape != (len(A), len(B)) or not np.isfinite(values).all():
        raise SpecError(
            Fault(view, f"its kernel must give finite values of shape {(len(A), len(B))} (got shape {values.shape}).")
        )
    return values


def _kernel_name(kernel: Any) -> str:
    return kernel if isinstance(kernel, str) else str(getattr(kernel, "__name__", type(kernel).__name__))


def _checked_views(X: Views, wanted: Sequence[str], rows: int | None) -> dict[str, Array]:
    if not isinstance(X, Mapping):
        raise SpecError(Fault("X", "must be a mapping of views, such as {'eis': X1, 'cycling': X2}."))
    missing, extra = [v for v in wanted if v not in X], [v for v in X if v not in wanted]
    if missing or extra:
        what = " and ".join([f"lacks the view {v!r}" for v in missing] + [f"has the view {v!r} without a kernel" for v in extra])
        raise SpecError(Fault("X", f"{what}.", f"Give {', '.join(map(repr, wanted))}."))
    checked = {}
    for view in wanted:
        values = np.asarray(X[view], dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not np.isfinite(values).all():
            raise SpecError(Fault(view, f"must be finite, of shape (rows, columns) (got shape {values.shape})."))
        rows = len(values) if rows is None else rows
        if len(values) != rows:
            raise SpecError(Fault(view, f"has {len(values)} rows; {rows} are needed, one per target and the same in every view."))
        checked[view] = values
    return checked
