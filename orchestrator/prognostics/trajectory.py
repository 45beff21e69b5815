"""Capacity trajectories: from the first cycles of a cell to all that follow, never rising, with the error of saying so.

A recurrent encoder reads the given cycles, a recurrent decoder says the shape of the fade between them and the end of life, and a
head beside them how many cycles that takes, on top of a ridge regression (`trajectory_network` has the formulas and sources,
`trajectory_curves` the axes). Each member of an ensemble leaves out some cells; its errors on these calibrate the standard
deviations (`trajectory_calibration`). A life that lies behind the horizon is not made up: the forecast is right-censored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.conformal import conformal_quantile
from orchestrator.learning.folds import Fold, cell_numbers, grouped_folds
from orchestrator.learning.seeding import one_thread
from orchestrator.prognostics.trajectory_calibration import COVERAGE, NORMAL_90, Curve, curve_of, missed_share_scale
from orchestrator.prognostics.trajectory_curves import checked_series, cut_at_end, given_part, smoothed
from orchestrator.prognostics.trajectory_ensemble import Row, TrajectoryEnsemble
from orchestrator.prognostics.trajectory_network import Training

Array = NDArray[np.float64]
_LEAST_ENDED = 4
# A cell is learned from if at least this many times the given cycles were seen of it.
_SEEN_BEYOND = 1.05


class Forecast(NamedTuple):
    """One cell's future.

    Attributes:
        cycles: the cycles after the given ones, shape (horizon,).
        mean: capacity, Ah, never rising, shape (horizon,); behind the end of life, where nothing was learned, a straight line.
        std: its standard deviation, Ah, shape (horizon,); mean +- 1.645 std holds nine tenths of a new cell's cycles.
        eol_mean: cycles to the end of life; NaN if `censored`.
        eol_std: its standard deviation; NaN if `censored`.
        censored: the end of life lies behind the horizon: all that is said of it is "later than `cycles[-1]`".
    """

    cycles: NDArray[np.int64]
    mean: Array
    std: Array
    eol_mean: float
    eol_std: float
    censored: bool


class CapacityTrajectoryForecaster(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Forecasts the capacity of every cycle to come from the first ones.

    Deterministic for its arguments and data (one thread, float64). Nothing behind a cell's end of life is read.

    Args:
        end_of_life_Ah: capacity at which a cell's life ends.
        given_cycles: how many cycles are known when it will be asked; several numbers: each cell is shown after each of them.
        folds: members of the ensemble leave out one of so many parts of the cells each.
        members: networks for each part.
        hidden: units of the networks.
        epochs: gradient steps.
        decay: weight decay, in units of the learning rate.
        seed: of folds, weights and scheduled sampling.

    Attributes:
        std_scale_: what the raw spread of capacities is multiplied with.
        life_scale_: what the raw spread of log life is multiplied with.
        left_out_: what members that had not learned from a cell say of it, calibrated: one `Forecast` for each cell (and each
            number of given cycles), as far as its last reading or its foretold end of life, whichever is later.
        left_out_rows_: position in `fit`'s list and number of given cycles of each.

    Example:
        >>> model = CapacityTrajectoryForecaster().fit(series, features, groups=names)
        >>> forecast = model.predict([q[:100] for q in new], horizon=2000, features=new_features)[0]
    """

    def __init__(
        self,
        end_of_life_Ah: float = 0.88,
        given_cycles: int | Sequence[int] = 100,
        folds: int = 8,
        members: int = 2,
        hidden: int = 12,
        epochs: int = 120,
        decay: float = 2.0,
        seed: int = 0,
    ) -> None:
        self.end_of_life_Ah = end_of_life_Ah
        self.given_cycles = given_cycles
        self.folds = folds
        self.members = members
        self.hidden = hidden
        self.epochs = epochs
        self.decay = decay
        self.seed = seed

    def fit(self, series: Sequence[ArrayLike], features: ArrayLike | None = None, groups: ArrayLike | None = None) -> Self:
        """Learn from cells that were followed further, to the end of life or not.

        Args:
            series: of each cell, capacity of cycles 1, 2, 3, ..., Ah; NaN where there is no reading. Whatever follows the first
                cycle below the end of life is not read.
            features: other numbers known after the given cycles, shape (cells, p); NaN where unknown.
            groups: what may not be parted in folds (cell names), shape (cells,); None: each series is a cell of its own.

        Raises:
            SpecError: if fewer than four cells ended after the given cycles, or shapes do not fit.
        """
        numbers = self._features(features, len(series))
        rows = self._rows(checked_series(series, "series"), numbers, cell_numbers(groups, len(series)))
        ended = [row.cell for row in rows if row.life.ended]
        if len(set(ended)) < _LEAST_ENDED:
            problem = f"hold {len(set(ended))} cells that reached {self.end_of_life_Ah:g} Ah after the given cycles."
            raise SpecError(Fault("series", problem, f"At least {_LEAST_ENDED} are needed; is end_of_life_Ah right?"))
        with one_thread():
            y = np.log([row.life.cycles for row in rows])
            folds = grouped_folds([row.group for row in rows], len(rows), self.folds, seed=self.seed, y=y)
            self._ensemble = self._fitted(rows, folds)
            self.n_features_in_ = numbers.shape[1]
            self._calibrate(rows, folds)
        return self

    def _fitted(self, rows: list[Row], folds: list[Fold]) -> TrajectoryEnsemble:
        training = Training(epochs=self.epochs, decay=self.decay)
        learned = [fold.train for fold in folds for _ in range(self.members)]
        return TrajectoryEnsemble(training, self.hidden, self.seed).fit(rows, learned)

    def predict(self, series: Sequence[ArrayLike], horizon: int, features: ArrayLike | None = None) -> list[Forecast]:
        """Forecast cells from their first cycles.

        Args:
            series: of each cell, capacity of its first cycles, Ah; NaN where there is no reading. A cell that has been followed
                for fewer cycles than any that was learned from gets wider errors.
            horizon: how many cycles after them.
            features: as in `fit`, shape (cells, p).

        Returns:
            One forecast per cell; one that is below its end of life already ends there and stays at its level.

        Raises:
            SpecError: if shapes do not fit, or there are features where none were learned from, or none where there were.
        """
        check_is_fitted(self, "std_scale_")
        if horizon < 1:
            raise SpecError(Fault("horizon", f"must be at least one cycle (got {horizon})."))
        numbers = self._features(features, len(series))
        if numbers.shape[1] != self.n_features_in_:
            wanted = f"must have the {self.n_features_in_} columns that were learned from (got {numbers.shape[1]})."
            raise SpecError(Fault("features", wanted))
        checked = checked_series(series, "series")
        if not checked:
            return []
        given = [given_part(q, len(q), self.end_of_life_Ah) for q in checked]
        with one_thread():
            beliefs = self._ensemble.predict(given, numbers)
            made = []
            for row, known in enumerate(given):
                cycles = known.cycles + np.arange(1, horizon + 1)
                if known.level_Ah <= self.end_of_life_Ah:
                    made.append(_over(cycles, known.level_Ah, cut_at_end(checked[row], self.end_of_life_Ah)[1].cycles))
                    continue
                curve = curve_of(beliefs.of(slice(None), row), known, cycles.astype(np.float64))
                made.append(self._forecast(curve, cycles, self._widened(known.cycles)))
        return made

    def _forecast(self, curve: Curve, cycles: NDArray[np.int64], wider: float = 1.0) -> Forecast:
        censored = bool(curve.life > cycles[-1])
        life, spread = (np.nan, np.nan) if censored else (curve.life, curve.life * curve.log_sd * self.life_scale_ * wider)
        return Forecast(cycles, curve.mean_Ah, curve.raw_Ah * self.std_scale_ * wider, life, spread, censored)

    def _widened(self, cycles: int) -> float:
        return float(np.sqrt(max(1.0, min(self._given()) / cycles)))

    def _given(self) -> list[int]:
        return sorted({int(each) for each in np.atleast_1d(np.asarray(self.given_cycles))})

    def _rows(self, series: list[Array], features: Array, groups: NDArray[np.int64]) -> list[Row]:
        """Every cell after every number of given cycles that it outlived."""
        if not self._given() or self._given()[0] < 2:
            raise SpecError(Fault("given_cycles", f"must be at least 2 cycles (got {self.given_cycles})."))
        made = []
        for cell, whole in enumerate(series):
            q, life = cut_at_end(whole, self.end_of_life_Ah)
            for cycles in self._given():
                if life.cycles < _SEEN_BEYOND * cycles + 2 or np.isfinite(q[:cycles]).sum() < 2:
                    continue
                given = given_part(q, cycles, self.end_of_life_Ah)
                if given.level_Ah > self.end_of_life_Ah:
                    made.append(Row(cell, int(groups[cell]), given, features[cell], q, life))
        return made

    def _features(self, features: ArrayLike | None, cells: int) -> Array:
        made = np.empty((cells, 0)) if features is None else np.array(features, dtype=np.float64)
        if made.ndim != 2 or len(made) != cells:
            raise SpecError(Fault("features", f"must have one row for each of {cells} cells (got shape {made.shape})."))
        return made

    def _calibrate(self, rows: list[Row], folds: list[Fold]) -> None:
        """Scales from what the members that left a cell out say of it."""
        beliefs = self._ensemble.predict([row.given for row in rows], np.array([row.features for row in rows]))
        curves: dict[int, tuple[Curve, NDArray[np.int64]]] = {}
        ratios: dict[int, list[Array]] = {}
        scores: dict[int, float] = {}
        for number, fold in enumerate(folds):
            members = slice(number * self.members, (number + 1) * self.members)
            for i in fold.test.tolist():
                row, at, level = rows[i], *smoothed(rows[i].capacity_Ah)
                cycles = np.arange(row.given.cycles + 1, len(row.capacity_Ah) + 1)
                own = beliefs.of(members, i)
                curve = curve_of(own, row.given, cycles.astype(np.float64))
                error = np.abs(curve.mean_Ah - np.interp(cycles, at, level)) / curve.raw_Ah
                whole = np.arange(row.given.cycles + 1, max(len(row.capacity_Ah), int(np.ceil(curve.life))) + 1)
                curves[i] = curve_of(own, row.given, whole.astype(np.float64)), whole
                ratios.setdefault(row.group, []).append(error)
                if row.life.ended:
                    score = abs(np.log(curve.life / row.life.cycles)) / curve.log_sd
                    scores[row.group] = max(score, scores.get(row.group, 0.0))
        self.std_scale_ = missed_share_scale([np.concatenate(each) for each in ratios.values()]) / NORMAL_90
        reach = conformal_quantile(list(scores.values()), COVERAGE)
        self.life_scale_ = (reach if np.isfinite(reach) else max(scores.values())) / NORMAL_90
        self.left_out_ = [self._forecast(*curves[i]) for i in range(len(rows))]
        self.left_out_rows_ = [(row.cell, row.given.cycles) for row in rows]


def _over(cycles: NDArray[np.int64], level_Ah: float, life: float) -> Forecast:
    """A cell whose life has ended: nothing more is said of it than that."""
    level = np.full(len(cycles), level_Ah)
    return Forecast(cycles, level, np.full(len(cycles), np.nan), life, 0.0, False)
