"""Severson's real cells, and simulated ones on the same protocols, as records of one form with the figures of both.

Severson et al., Nature Energy 4 (2019) 383: LFP/graphite cells of 1.1 Ah, 4C discharge, 30 degC, charge C1(Q1 %)-C2 to 80 %.
Test cell 22, dead after 148 cycles, is left out, as published tables do. The data folder is never copied from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orchestrator.domain import Candidate, Protocol
from orchestrator.domain.cell_design import cell_design
from orchestrator.features.discharge_curves import delta_q_features
from orchestrator.representation.charging import two_step_charge
from orchestrator.store.datasets import open_dataset

Array = NDArray[np.float64]
DESIGN = cell_design("lfp_a123")
AMBIENT_DEGC, DISCHARGE_RATE_C = 30.0, 4.0
END_OF_LIFE_AH = 0.88
VOLTS = np.linspace(3.6, 2.0, 1000)
OUTLIER = "test1_22"
LIFE_SHARES = (0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class SeversonCell:
    """One real cell's row: `batch` is the date at which its batch began."""

    name: str
    split: str
    batch: str
    policy: str
    candidate: Candidate
    life: float

    @property
    def protocol(self) -> Protocol:
        """One ageing cycle."""
        return two_step_charge(self.candidate, DESIGN)


@dataclass(frozen=True)
class LifeRecord:
    """What the figures need of one cell, real or simulated.

    Attributes:
        life: cycles until the capacity falls below 0.88 Ah.
        change_Ah: Q100(V) - Q10(V) at `VOLTS`, shape (1000,).
        cycles, capacity_Ah: discharge capacity over life, shape (k,); empty where it is not public.
    """

    name: str
    life: float
    change_Ah: Array
    cycles: Array
    capacity_Ah: Array

    @property
    def log_variance(self) -> float:
        """log10 of the variance of Q100(V) - Q10(V), Ah^2."""
        return delta_q_features(VOLTS, np.zeros_like(VOLTS), self.change_Ah)["log_variance"]

    def at_cycle(self, cycle: float) -> float:
        """Capacity at a cycle, Ah."""
        return float(np.interp(cycle, self.cycles, self.capacity_Ah))


@cache
def cells(split: str) -> tuple[SeversonCell, ...]:
    """The cells of a split (`train`, `test1`) in the order of their names, without the outlier."""
    table = open_dataset("severson_protocols").tables["cells"]
    chosen = table.filter(pl.col("split") == split, pl.col("cell_id") != OUTLIER).sort("cell_id")
    return tuple(_cell(row) for row in chosen.iter_rows(named=True))


def tuning_cells() -> tuple[SeversonCell, ...]:
    """Every other training cell: what benchmarks/calibrate_cell.py looks at. 15 of the other 62 cells share their protocols."""
    return cells("train")[::2]


def _cell(row: dict[str, Any]) -> SeversonCell:
    charge = {"C1": row["C1_rate_C"], "Q1_pct": row["Q1_percent"], "C2": row["C2_rate_C"]}
    candidate = Candidate({**charge, "discharge_rate_C": DISCHARGE_RATE_C})
    return SeversonCell(row["cell_id"], row["split"], str(row["batch_date"]), row["policy"], candidate, row["cycle_life"])


def real_records(chosen: Sequence[SeversonCell]) -> list[LifeRecord]:
    """What was measured of real cells."""
    fade, changes = _capacities(), _changes()
    unknown = np.empty(0), np.empty(0)
    return [LifeRecord(c.name, c.life, changes[c.name], *fade.get(c.name, unknown)) for c in chosen]


@cache
def _capacities() -> dict[str, tuple[Array, Array]]:
    """Cycles and discharge capacities by cell; a median of five takes out single odd cycles."""
    table = open_dataset("severson_capacity").tables["train_and_test1"]
    by_cell = table.partition_by("cell_id", maintain_order=True, as_dict=True)
    return {name: _smoothed(rows.drop("cell_id").cast(pl.Float64).to_numpy()) for (name,), rows in by_cell.items()}


def _smoothed(points: Array) -> tuple[Array, Array]:
    padded = np.pad(points[:, 1], 2, mode="edge")
    return points[:, 0], np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)


@cache
def _changes() -> dict[str, Array]:
    curves = open_dataset("severson_qv").curves
    return {
        name: np.interp(-VOLTS, -each.fine_voltage_V, late - early)
        for each in (curves["train"], curves["test1"])
        for name, (early, late) in zip(each.cell_ids, each.fine_discharge_capacity_Ah, strict=True)
    }


@dataclass(frozen=True)
class VarianceModel:
    """Ordinary least squares of log10 life on log10 variance: Severson's model of one feature."""

    slope: float
    intercept: float
    correlation: float

    @classmethod
    def fitted(cls, records: Sequence[LifeRecord]) -> VarianceModel:
        """Fit to records."""
        x, y = _logs(records)
        slope, intercept = np.polyfit(x, y, 1).tolist()
        return cls(slope, intercept, float(np.corrcoef(x, y)[0, 1]))

    def mape(self, records: Sequence[LifeRecord]) -> float:
        """Mean absolute percentage error of predicted lives, %."""
        x, y = _logs(records)
        return float(100 * np.mean(np.abs(10 ** (self.intercept + self.slope * x - y) - 1)))


def _logs(records: Sequence[LifeRecord]) -> tuple[Array, Array]:
    return np.array([r.log_variance for r in records]), np.log10([r.life for r in records])


def figures(records: Sequence[LifeRecord], reference: Sequence[LifeRecord]) -> dict[str, float]:
    """All figures of a set of cells; the model trained on it predicts the reference, and the other way round."""
    model = VarianceModel.fitted(records)
    variances, lives = _logs(records)
    change_mAh = 1e3 * np.median([r.change_Ah for r in records], axis=0)
    followed = [r for r in records if len(r.cycles)]
    early = np.median([[r.at_cycle(n) for n in (2, 20, 50, 100)] for r in followed], axis=0)
    fade = np.median([[r.at_cycle(share * r.life) for share in LIFE_SHARES] for r in followed], axis=0)
    return {
        "cells": len(records),
        "life, least": float(10 ** lives.min()),
        "life, median": float(10 ** np.median(lives)),
        "life, most": float(10 ** lives.max()),
        "life, geometric mean": float(10 ** lives.mean()),
        "sd of log10 life": float(lives.std()),
        "correlation": model.correlation,
        "slope of log10 life on log10 var": model.slope,
        "slope of log10 var on log10 life": model.correlation**2 / model.slope,
        "MAPE, model of the real training cells (%)": VarianceModel.fitted(reference).mape(records),
        "MAPE on the real training cells (%)": model.mape(reference),
        "log10 var, least": float(variances.min()),
        "log10 var, median": float(np.median(variances)),
        "log10 var, mean": float(variances.mean()),
        "log10 var, most": float(variances.max()),
        **{f"Q100 - Q10 at {v:g} V (mAh)": float(np.interp(-v, -VOLTS, change_mAh)) for v in (3.25, 3.2, 3.1, 3.0, 2.6, 2.0)},
        "rise of capacity, cycle 2 to 20 (mAh)": float(1e3 * (early[1] - early[0])),
        "rise of capacity, cycle 2 to 50 (mAh)": float(1e3 * (early[2] - early[0])),
        "capacity at cycle 100 (Ah)": float(early[3]),
        **{f"capacity at {100 * s:g} % of life (Ah)": float(q) for s, q in zip(LIFE_SHARES, fade, strict=True)},
    }
