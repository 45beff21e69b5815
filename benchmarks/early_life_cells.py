"""Severson's cells: cycle life from the first 100 cycles, by the baseline and by `auto`, and how sure either is.

Published on the same cells (train / test1 without its outlier / test2; RMSE in cycles): variance model 104 / 138 / 196 (Severson
et al., Nature Energy 4 (2019) 383), best of any 173 on test2; partial least squares on Q100 - Q10 100 on test1 (Attia et al., J.
Electrochem. Soc. 168 (2021) 090547), the best of twenty models picked with test1 in sight 82 and 7.8 %.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orchestrator.features import delta_q_statistics
from orchestrator.learning.conformal import Interval, coverage_of
from orchestrator.learning.folds import grouped_splits
from orchestrator.prognostics.cycle_life import LinearCycleLifeRegressor, expected_mspe
from orchestrator.prognostics.early_curves import early_life_features
from orchestrator.prognostics.selection import AutoCycleLifeRegressor, auto_cycle_life
from orchestrator.store.datasets import open_dataset

Array = NDArray[np.float64]
OUTLIER = "test1_22"


class Cells(NamedTuple):
    """A split: names, batches, features (cells, columns) with their names, log variance of cycles 10 and 100, lives (or NaN)."""

    names: list[str]
    batches: list[str]
    columns: tuple[str, ...]
    X: Array
    log_variance: Array
    life: Array

    def only(self, chosen: NDArray[np.bool_]) -> Cells:
        """Some of the cells."""
        kept = np.flatnonzero(chosen)
        names, batches = [self.names[i] for i in kept], [self.batches[i] for i in kept]
        return Cells(names, batches, self.columns, self.X[kept], self.log_variance[kept], self.life[kept])

    @property
    def usual(self) -> NDArray[np.bool_]:
        """All but the outlier."""
        return np.array([name != OUTLIER for name in self.names])


@cache
def cells(split: str, glitched: bool = True) -> Cells:
    """The cells of `train`, `test1` or `test2`; with or without the curves that are physically impossible."""
    opened = open_dataset("severson_qv")
    curves = opened.curves[split]
    sound = None if glitched else curves.sound
    table = early_life_features(curves.voltage_V, curves.cycle_count, curves.discharge_capacity_Ah, sound)
    early, late = np.moveaxis(curves.fine_discharge_capacity_Ah, 1, 0)
    variance = delta_q_statistics(curves.fine_voltage_V, late - early)["log_variance"]
    lives = opened.tables["cells"].filter(split=split)["cycle_life"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    batch = dict(open_dataset("severson_protocols").tables["cells"].select("cell_id", "batch_date").iter_rows())
    names = list(curves.cell_ids)
    return Cells(names, [str(batch[name]) for name in names], table.names, table.values, variance, lives)


def joined(*parts: Cells) -> Cells:
    """Cells of several splits."""
    names, batches = [n for p in parts for n in p.names], [b for p in parts for b in p.batches]
    return Cells(names, batches, parts[0].columns, *(np.concatenate([p[i] for p in parts]) for i in (3, 4, 5)))


def auto(learned: Cells, batches: bool = False) -> AutoCycleLifeRegressor:
    """`auto`, chosen and fitted on cells."""
    told = learned.batches if batches else None
    return auto_cycle_life(learned.columns).fit(learned.X, learned.life, groups=learned.names, batches=told)


def errors(predicted: Array, life: Array) -> dict[str, float]:
    """RMSE in cycles and mean absolute percentage error, over cells with a prediction."""
    off = (predicted - life)[np.isfinite(predicted)]
    return {"RMSE": float(np.sqrt(np.mean(off**2))), "MAPE %": float(100 * np.nanmean(np.abs(predicted / life - 1)))}


def life_table() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Figures of the baseline and of `auto`; who serves in it; another batch."""
    train, test = cells("train"), cells("test1").only(cells("test1").usual)
    model = LinearCycleLifeRegressor().fit(train.log_variance[:, None], np.log10(train.life))
    first = [errors(10 ** model.predict(each.log_variance[:, None]), each.life) for each in (train, test)]
    chosen = auto(train)
    clean_train, clean_test = cells("train", glitched=False), cells("test1", glitched=False)
    clean_test = clean_test.only(clean_test.usual)
    clean = auto(clean_train).predict(clean_test.X)
    rows = [
        _line("baseline, on train", first[0], "103.6 RMSE"),
        _line("baseline, on test1", first[1], "138.4 RMSE"),
        _line("auto, nested on train", errors(chosen.nested_, train.life), ""),
        _line("auto, test1 (chosen on train alone)", errors(chosen.predict(test.X), test.life), "<= 100, 9.5 %; 82, 7.8 %"),
        _line("the same, glitched curves left out", errors(clean, clean_test.life), "moves < 5 %"),
    ]
    fields = ("model", "loss", "difference", "low", "high", "passes", "served")
    return rows, [{f: getattr(row, f) for f in fields} for row in chosen.comparison_.rows], _shifted(train)


def _line(what: str, found: dict[str, float], aim: str) -> dict[str, Any]:
    return {"what": what, **found, "published or wanted": aim}


def _shifted(train: Cells) -> list[dict[str, Any]]:
    """Learned from one batch, asked about the other."""
    rows = []
    for batch in sorted(set(train.batches)):
        asked = np.array([each == batch for each in train.batches])
        model, new = auto(train.only(~asked)), train.only(asked)
        life, std = model.predict(new.X, return_std=True)
        off = np.log10(life / new.life)
        wide = std / life / np.log(10)
        rows.append(
            {
                "asked about": batch,
                "serves": model.members_[0] if len(model.members_) == 1 else f"{len(model.members_)} models",
                "bias, log10": float(np.nanmean(off)),
                "error, log10": float(np.sqrt(np.nanmean(off**2))),
                "std, plain": model.sigma_,
                "std, widened": float(np.nanmedian(wide)),
                "90 % intervals hold %": 100 * coverage_of(new.life, model.predict_interval(new.X)),
                "refused": int(np.isnan(life).sum()),
            }
        )
    return rows


def strange() -> list[dict[str, Any]]:
    """What is said of cells unlike the training cells: test1 as it is, test2, and test1 with its curves changed."""
    model, curves = auto(cells("train")), open_dataset("severson_qv").curves["test1"]
    Q, V = curves.discharge_capacity_Ah, curves.voltage_V
    noise = np.random.default_rng(0).normal(0, 0.003, size=Q.shape)
    shifted = np.array([[np.interp(-V, -(V - 0.05), curve) for curve in cell] for cell in Q])
    changed = {
        "test1": Q,
        "test2, another batch": open_dataset("severson_qv").curves["test2"].discharge_capacity_Ah,
        "3 mAh of noise on each value": Q + noise,
        "voltages 50 mV too low": shifted,
        "cells of 5 % less capacity": 0.95 * Q,
        "cells of twice the capacity": 2 * Q,
    }
    rows = []
    for what, each in changed.items():
        X = early_life_features(V, curves.cycle_count, each).values
        far = model.unfamiliarity(X)
        life, std = model.predict(X, return_std=True)
        known = np.isfinite(life)
        wide = float(np.median(std[known] / life[known])) if known.any() else float("nan")
        rows.append(
            {
                "cells": what,
                "unfamiliarity, median": float(np.median(far)),
                "widened %": 100 * float(np.mean(far > 1)),
                "refused %": 100 * float(np.mean(~known)),
                "std / life, median": wide,
            }
        )
    return rows


def write_test2(folder: Path) -> Path:
    """Predictions for the 40 cells of test2, another batch: learned from all 84 open cells."""
    new, learned = cells("test2"), joined(cells("train"), cells("test1"))
    life, std = auto(learned, batches=True).predict(new.X, return_std=True, new_batch=True)
    path = folder / "test2_life.csv"
    rows = [(n, f"{each:.1f}", f"{wide:.1f}") for n, each, wide in zip(new.names, life, std, strict=True)]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("cell_id", "pred_cycle_life", "std"), *rows])
    return path


def coverage(splits: int = 50) -> dict[str, Any]:
    """How often 90 % intervals hold, pooled over random splits of all 84 open cells, 30 % of them asked about."""
    both = joined(cells("train"), cells("test1"))
    inside, asked, served, refused, widths = 0.0, 0, 0, 0, []
    for split in grouped_splits(both.names, len(both.names), splits):
        chosen = np.isin(np.arange(len(both.names)), split.test)
        model, new = auto(both.only(~chosen)), both.only(chosen)
        low, high = model.predict_interval(new.X)
        known = np.isfinite(low)
        inside += coverage_of(new.life[known], Interval(low[known], high[known])) * known.sum()
        asked += int(known.sum())
        refused += int((~known).sum())
        served += len(model.members_) > 1
        widths.append(float(np.median((high / low)[known])))
    return {
        "splits": splits,
        "asked": asked,
        "hold %": 100 * inside / asked,
        "wanted": "87 to 93",
        "refused": refused,
        "committee served in": served,
        "upper/lower, median": float(np.median(widths)),
    }


def formula_table() -> list[dict[str, Any]]:
    """The formula's error of a new cell beside Monte Carlo over training sets, given which the error is taken exactly.

    10 cells and 6 features leave so few degrees of freedom that single sets weigh heavily: more are drawn.
    """
    return [
        _formula(n, p, intercept, 3_000_000 if (n, p) == (10, 6) else 200_000)
        for n in (10, 20, 41)
        for p in (1, 2, 6)
        for intercept in (True, False)
    ]


def _formula(n: int, p: int, intercept: bool, wanted: int) -> dict[str, Any]:
    rng, total, sets = np.random.default_rng([n, p, int(intercept)]), 0.0, 0
    while sets < wanted:
        features = rng.normal(size=(20_000, n, p))
        mean = features.mean(axis=1) if intercept else np.zeros((len(features), p))
        centred = features - mean[:, None]
        inverse = np.linalg.inv(np.swapaxes(centred, 1, 2) @ centred)
        off = np.einsum("si,sij,sj->s", mean, inverse, mean)
        total += float((1 + (1 / n if intercept else 0) + np.trace(inverse, axis1=1, axis2=2) + off).sum())
        sets += len(features)
    formula = expected_mspe(1.0, n, p, intercept).total
    return {
        "n": n,
        "p": p,
        "intercept": intercept,
        "formula": formula,
        "Monte Carlo": total / sets,
        "off %": 100 * (total / sets / formula - 1),
        "sets": sets,
    }
