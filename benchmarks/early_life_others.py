"""Other people's cells: XJTU's capacities from charges, and the lives of Attia's validation protocols from early predictions.

XJTU (Wang et al., Nature Communications 15 (2024) 4332): 55 cells of six test regimes; the capacity of each cycle is foretold
from its charge and those before it, never from later ones. Attia et al., Nature 578 (2020) 397: nine protocols, five cells each,
early predictions for all, measured lives published for five of the protocols; the predictions were too high.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from orchestrator.prognostics.cycle_life import LinearCycleLifeRegressor
from orchestrator.prognostics.gate import compare_with_baseline
from orchestrator.prognostics.life_models import BASELINE, Columns
from orchestrator.prognostics.selection import AutoCycleLifeRegressor
from orchestrator.store.datasets import open_dataset

Array = NDArray[np.float64]
REGIMES = ("2C", "3C", "R2.5", "R3", "RW", "Sim_satellite")
# Rows of a cell are much alike: learning from every sixth costs no accuracy, and a sixth of the time.
EVERY = 6
SHORT, LONG, FIRST = 7, 25, 5
RATES = ("C1_rate_C", "C2_rate_C", "C3_rate_C")


class Charges(NamedTuple):
    """Cycles of cells: names and cycles (n,), features (n, p) with the columns of this charge's own, capacities (n,) or None."""

    cell: NDArray[np.str_]
    cycle: NDArray[np.int64]
    X: Array
    own: list[int]
    capacity_Ah: Array | None


def charges(table: pl.DataFrame) -> Charges:
    """Features of each cycle from its charge and earlier ones; what is infinite or missing takes the last known value."""
    names = [name for name in table.columns if name not in ("cell_id", "cycle_count", "capacity_Ah")]
    ordered = table.sort("cell_id", "cycle_count", maintain_order=True)
    parts = [_cell(rows, names) for rows in ordered.partition_by("cell_id", maintain_order=True)]
    capacity = ordered["capacity_Ah"].to_numpy() if "capacity_Ah" in ordered.columns else None
    own = list(range(1 + len(REGIMES), 1 + len(REGIMES) + len(names)))
    return Charges(ordered["cell_id"].to_numpy(), ordered["cycle_count"].to_numpy(), np.vstack(parts), own, capacity)


def _cell(rows: pl.DataFrame, names: list[str]) -> Array:
    filled = rows.select(
        pl.when(pl.col(n).is_finite()).then(pl.col(n)).fill_null(strategy="forward").fill_null(strategy="backward") for n in names
    )
    values = filled.to_numpy().astype(np.float64)
    recent, longer = _past_median(values, SHORT), _past_median(values, LONG)
    # Until cycle 5 the first cycles are those known so far.
    begin = np.array([np.median(values[: min(i + 1, FIRST)], axis=0) for i in range(min(FIRST, len(values)))])
    first = np.vstack([begin, np.repeat(begin[-1:], len(values) - len(begin), axis=0)])
    regime = str(rows["cell_id"][0]).split("_battery")[0]
    marks = np.repeat([[float(regime == each) for each in REGIMES]], len(values), axis=0)
    cycle = rows["cycle_count"].to_numpy().astype(np.float64)[:, None]
    return np.hstack([cycle, marks, recent, longer, recent - first, first])


def _past_median(values: Array, width: int) -> Array:
    padded = np.vstack([np.repeat(values[:1], width - 1, axis=0), values])
    median: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=0), axis=-1)
    return median


def xjtu_models(own: list[int], columns: int) -> dict[str, Any]:
    """The baseline is least squares on the charge's own features."""
    near = [*range(own[-1] + 1), *range(columns - 2 * len(own), columns - len(own))]
    support = make_pipeline(StandardScaler(), SVR(C=0.3, gamma=0.005, epsilon=0.01))
    return {
        BASELINE: make_pipeline(Columns(own), LinearCycleLifeRegressor()),
        "extra_trees": ExtraTreesRegressor(60, min_samples_leaf=3, max_features=0.4, random_state=0),
        "gradient_boosting": HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=15, random_state=0
        ),
        "support_vectors": make_pipeline(Columns(near), support),
    }


def xjtu_table(out: Path | None) -> list[dict[str, Any]]:
    """Errors on cells left out (nested), of each model and of what serves; `out` gets the held-out cells' capacities."""
    tables = open_dataset("xjtu_features").tables
    known = charges(tables["cycles"])
    assert known.capacity_Ah is not None
    kept = np.arange(0, len(known.cell), EVERY)
    models = xjtu_models(known.own, known.X.shape[1])
    auto = AutoCycleLifeRegressor(models, log_target=False, folds=4, refuse_beyond=np.inf)
    auto.fit(known.X[kept], known.capacity_Ah[kept], groups=known.cell[kept])
    rows = [
        {"model": row.model, "mean absolute error (mAh)": 1e3 * row.loss, "passes": row.passes, "served": row.served}
        for row in auto.comparison_.rows
    ]
    off = auto.nested_ - known.capacity_Ah[kept]
    by_cell = [np.sqrt(np.mean(off[known.cell[kept] == cell] ** 2)) for cell in np.unique(known.cell)]
    figures = {"RMSE (mAh)": 1e3 * np.sqrt(np.mean(off**2)), "mean RMSE of cells (mAh)": 1e3 * np.mean(by_cell)}
    percent = 100 * np.mean(np.abs(off) / known.capacity_Ah[kept])
    rows = [
        row | ({**figures, "MAPE %": percent} if row["model"] == "auto" else dict.fromkeys((*figures, "MAPE %"), ""))
        for row in rows
    ]
    if out:
        _write_xjtu(auto, charges(tables["held_out"]), out)
    return rows


def _write_xjtu(auto: AutoCycleLifeRegressor, held: Charges, out: Path) -> None:
    predicted = auto.predict(held.X)
    rows = [(c, int(k), f"{q:.5f}") for c, k, q in zip(held.cell, held.cycle, predicted, strict=True)]
    with (out / "xjtu_predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("cell", "cycle", "pred_capacity"), *rows])


class Bias(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Prediction times one factor: the geometric mean of measured over predicted, learned from logs of both."""

    def fit(self, X: ArrayLike, y: ArrayLike) -> Bias:
        """Logs of predicted lives (n, 1) and of measured ones (n,)."""
        self.shift_ = float(np.mean(np.asarray(y) - np.asarray(X)[:, 0]))
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Logs of lives, (m,)."""
        corrected: Array = np.asarray(X)[:, 0] + self.shift_
        return corrected


class Untouched(Bias):
    """The early prediction as it was made."""

    def fit(self, X: ArrayLike, y: ArrayLike) -> Untouched:
        """Nothing is learned."""
        self.shift_ = 0.0
        return self


class Protocols(NamedTuple):
    """Attia's validation protocols: rates (m, 3), logs of predicted lives (m, 1) and of measured ones (m,) or NaN."""

    rates: list[tuple[float, ...]]
    predicted: Array
    measured: Array


def protocols() -> Protocols:
    """Logs of geometric means over the cells of each protocol."""
    cells = open_dataset("attia_campaign").tables["validation"]
    of = [pl.col(name).log10().mean().alias(name) for name in ("predicted_cycle_life", "cycle_life")]
    table = cells.group_by("protocol", *RATES).agg(of).sort("protocol")
    predicted, measured = (table[n].cast(pl.Float64).fill_null(np.nan).to_numpy() for n in ("predicted_cycle_life", "cycle_life"))
    return Protocols(list(table.select(RATES).iter_rows()), predicted[:, None], measured)


ATTIA: dict[str, Callable[[], Any]] = {"as predicted": Untouched, "one factor": Bias, "a line": LinearCycleLifeRegressor}


def attia_table(out: Path | None) -> list[dict[str, Any]]:
    """Errors on each of the five open protocols, left out in turn; the factor serves unless the line beats it."""
    found = protocols()
    known = np.flatnonzero(np.isfinite(found.measured))
    X, y = found.predicted[known], found.measured[known]
    left = {name: np.array([_left_out(make(), X, y, i) for i in range(len(known))]) for name, make in ATTIA.items()}
    table = compare_with_baseline({name: np.abs(each - y) for name, each in left.items()}, "one factor")
    serving = "a line" if table.row("a line").passes else "one factor"
    if out:
        _write_attia(ATTIA[serving]().fit(X, y), found, out)
    return [
        {
            "correction": name,
            "MAPE %": 100 * float(np.mean(np.abs(10 ** (each - y) - 1))),
            "RMSE (cycles)": float(np.sqrt(np.mean((10**each - 10**y) ** 2))),
            "factor": float(10 ** ATTIA[name]().fit(X, y).shift_) if name != "a line" else "",
            "serves": name == serving,
        }
        for name, each in left.items()
    ]


def _left_out(model: Any, X: Array, y: Array, number: int) -> float:
    return float(model.fit(np.delete(X, number, axis=0), np.delete(y, number)).predict(X[number : number + 1])[0])


def _write_attia(model: Any, found: Protocols, out: Path) -> None:
    asked = np.flatnonzero(~np.isfinite(found.measured))
    lives = 10 ** model.predict(found.predicted[asked])
    rows = [(*found.rates[i], f"{life:.1f}") for i, life in zip(asked.tolist(), lives, strict=True)]
    with (out / "attia_validation_predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("C1", "C2", "C3", "pred_life"), *rows])
