"""Capacity trajectories of Severson's cells from their first 100 cycles, and what a penalty on rising capacity does.

    OMP_NUM_THREADS=1 python benchmarks/early_life_trajectories.py [--out DIR]

Learned from the 82 cells of train and test1 whose capacities are public; judged on cells left out (8 folds of cells). Everything
runs freely from cycle 101 on, from capacities of cycles 2 to 100 and four statistics of Q100(V) - Q10(V), those of Severson's
discharge model.

The measure. Of each cell, the root mean square of forecast less measured capacity over all cycles from 101 to the last before the
published end of life, in mAh; the mean of that over cells. Measured: median of five cycles, which takes out single odd ones (one
reads 2.88 Ah). Behind its own end of life a forecast goes on at its mean slope ("mAh"), or stays at 0.88 Ah, as a list that ends
there is read ("mAh, held"). End-of-life error: mean over cells of |foretold - published| / published.

`--out` writes `test2_trajectories.csv` (cell_id,cycle,pred_Qd_Ah; every cycle from 101 to the foretold end of life) for the 36
cells of test2, which nothing was fitted to or chosen by. Wanted: below 28 mAh and 10 %, no step that rises; rising steps of the
penalised network below 1 % (above 30 % without), and it is not farther from the truth.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import keep, show
from orchestrator.features import delta_q_statistics
from orchestrator.learning.folds import grouped_folds
from orchestrator.learning.seeding import reproducible
from orchestrator.prognostics.monotone import MonotoneDecayPenalty
from orchestrator.prognostics.trajectory import CapacityTrajectoryForecaster, Forecast
from orchestrator.store.datasets import open_dataset

Array = NDArray[np.float64]
END_OF_LIFE_AH = 0.88
GIVEN = 100
HORIZON = 4000
FOLDS = 8
STATISTICS = ("log_variance", "log_minimum", "skewness", "kurtosis")
FIELDS = ("cell_id", "cycle", "pred_Qd_Ah")


class Cells(NamedTuple):
    """Severson's cells: names, capacity of cycles 1, 2, ... (NaN at 1), features known at cycle 100, published lives (or NaN)."""

    names: list[str]
    series: list[Array]
    features: Array
    life: Array

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Cells:
        """Some of them."""
        chosen = [int(row) for row in rows]
        return Cells([self.names[i] for i in chosen], [self.series[i] for i in chosen], self.features[chosen], self.life[chosen])

    @property
    def given(self) -> list[Array]:
        """The cycles that a forecast may see."""
        return [q[:GIVEN] for q in self.series]


def severson_cells(table: str) -> Cells:
    """The cells of `train_and_test1` (to the end of life) or `test2` (cycles to 100)."""
    by_cell = open_dataset("severson_capacity").tables[table].partition_by("cell_id", maintain_order=True, as_dict=True)
    series = {}
    for (name,), rows in by_cell.items():
        cycles = rows["cycle_count"].to_numpy()
        series[str(name)] = np.full(int(cycles.max()), np.nan)
        series[str(name)][cycles - 1] = rows["discharge_capacity_Ah"].to_numpy()
    qv = open_dataset("severson_qv")
    lives = dict(qv.tables["cells"].select("cell_id", "cycle_life").iter_rows())
    changes = {
        name: late - early
        for curves in qv.curves.values()
        for name, (early, late) in zip(curves.cell_ids, curves.fine_discharge_capacity_Ah, strict=True)
    }
    names = list(series)
    said = delta_q_statistics(qv.curves["train"].fine_voltage_V, np.stack([changes[name] for name in names]))
    life = [np.nan if lives[name] is None else float(lives[name]) for name in names]
    return Cells(names, list(series.values()), np.column_stack([said[s] for s in STATISTICS]), np.array(life))


def measured_future(q: Array, life: float) -> Array:
    """Capacity of cycles 101 to the last before the end of life, a median of five, Ah."""
    kept = q[: int(life) - 1]
    at = np.flatnonzero(np.isfinite(kept))
    median = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(kept[at], 2, mode="edge"), 5), axis=1)
    whole: Array = np.interp(np.arange(GIVEN, len(kept)), at, median)
    return whole


class Figures(NamedTuple):
    """Of one cell: both root mean squares, mAh; relative error of the end of life; share of cycles inside mean +- 1.645 std."""

    rmse_mAh: float
    held_mAh: float
    end_error: float
    covered: float


def figures(mean: Array, std: Array, end: float, truth: Array, life: float) -> Figures:
    """The measure of the module's docstring for one cell; `mean` from cycle 101 on, at least as long as `truth`."""
    foretold, spread = mean[: len(truth)], std[: len(truth)]
    held = np.where(np.arange(GIVEN + 1, GIVEN + 1 + len(truth)) > end, END_OF_LIFE_AH, foretold)
    inside = np.abs(foretold - truth) <= 1.645 * spread
    return Figures(_rms_mAh(foretold - truth), _rms_mAh(held - truth), abs(end - life) / life, float(inside.mean()))


def _rms_mAh(error: Array) -> float:
    return float(1000 * np.sqrt(np.mean(error**2)))


def stretched_mean_curve(learned: Cells, asked: Cells, life: Array | None = None) -> list[Figures]:
    """The rival: the mean shape of the training cells, stretched to a life that ridge regression foretells (or the true one)."""
    u = np.linspace(0, 1, 101)
    shapes = []
    for q, end in zip(learned.series, learned.life, strict=True):
        future = np.append(measured_future(q, end), END_OF_LIFE_AH)
        level = np.nanmedian(q[GIVEN - 5 : GIVEN])
        on_u = np.interp(GIVEN + u * (end - GIVEN), np.arange(GIVEN + 1, GIVEN + 1 + len(future)), future)
        shapes.append((on_u - END_OF_LIFE_AH) / (level - END_OF_LIFE_AH))
    shape = np.mean(shapes, axis=0)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 16))).fit(_plain(learned), np.log(learned.life))
    foretold = np.exp(ridge.predict(_plain(asked))) if life is None else life
    made = []
    for q, true, end in zip(asked.series, asked.life, foretold, strict=True):
        place = (np.arange(GIVEN + 1, GIVEN + HORIZON) - GIVEN) / max(end - GIVEN, 1.0)
        beyond = np.maximum(place - 1, 0) * (shape[-1] - shape[0])
        level = np.nanmedian(q[GIVEN - 5 : GIVEN])
        mean = END_OF_LIFE_AH + (np.interp(place, u, shape) + beyond) * (level - END_OF_LIFE_AH)
        made.append(figures(mean, np.full(len(mean), np.nan), float(end), measured_future(q, true), true))
    return made


def _plain(cells: Cells) -> Array:
    """Severson's discharge model: statistics of Q100(V) - Q10(V), first capacity, how far it rose."""
    first = np.array([np.nanmedian(q[1:4]) for q in cells.series])
    top = np.array([np.nanmedian(np.sort(q[:GIVEN][np.isfinite(q[:GIVEN])])[-9:-4]) for q in cells.series])
    return np.column_stack([cells.features, first, top - first])


def forecaster() -> CapacityTrajectoryForecaster:
    """As it serves: the defaults."""
    return CapacityTrajectoryForecaster(END_OF_LIFE_AH, given_cycles=GIVEN)


def trajectories(cells: Cells) -> tuple[list[dict[str, object]], int]:
    """The table of the forecaster and its rivals on cells left out, and how many of its steps rise."""
    found: dict[str, list[Figures]] = {}
    rising = 0
    for learned_rows, asked_rows in grouped_folds(cells.names, len(cells.names), FOLDS, seed=0, y=np.log(cells.life)):
        learned, asked = cells.take(learned_rows), cells.take(asked_rows)
        model = forecaster().fit(learned.series, learned.features, groups=learned.names)
        forecasts = model.predict(asked.given, HORIZON, asked.features)
        rising += sum(int((np.diff(f.mean, prepend=np.inf) > 0).sum()) for f in forecasts)
        truths = [measured_future(q, life) for q, life in zip(asked.series, asked.life, strict=True)]
        rows = zip(forecasts, truths, asked.life, strict=True)
        found.setdefault("forecaster", []).extend(figures(f.mean, f.std, f.eol_mean, t, life) for f, t, life in rows)
        found.setdefault("mean curve, foretold life", []).extend(stretched_mean_curve(learned, asked))
        found.setdefault("mean curve, true life", []).extend(stretched_mean_curve(learned, asked, asked.life))
        found.setdefault("held flat", []).extend(
            _flat(q, t, life) for q, t, life in zip(asked.series, truths, asked.life, strict=True)
        )
    return [_line(name, each) for name, each in found.items()], rising


def _flat(q: Array, truth: Array, life: float) -> Figures:
    level = np.full(len(truth), np.nanmedian(q[GIVEN - 5 : GIVEN]))
    return figures(level, np.full(len(truth), np.nan), np.inf, truth, life)._replace(end_error=np.nan)


def _line(name: str, each: list[Figures]) -> dict[str, object]:
    means = np.mean(np.array(each), axis=0)
    covered = "" if name != "forecaster" else f"{100 * means[3]:.1f}"
    texts = ["" if np.isnan(m) else f"{m:.1f}" for m in (means[0], means[1], 100 * means[2])]
    return {"model": name, "mAh": texts[0], "mAh, held": texts[1], "end of life, %": texts[2], "inside 90 %, %": covered}


def write_trajectories(learned: Cells, asked: Cells, folder: Path) -> Path:
    """`test2_trajectories.csv`: every cycle from 101 to the foretold end of life."""
    model = forecaster().fit(learned.series, learned.features, groups=learned.names)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "test2_trajectories.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(FIELDS)
        for name, forecast in zip(asked.names, model.predict(asked.given, HORIZON, asked.features), strict=True):
            writer.writerows((name, cycle, f"{q:.6f}") for cycle, q in _to_the_end(forecast))
    return path


def _to_the_end(forecast: Forecast) -> list[tuple[int, float]]:
    until = len(forecast.cycles) if forecast.censored else int(np.ceil(forecast.eol_mean)) - GIVEN
    return list(zip(forecast.cycles[:until].tolist(), forecast.mean[:until].tolist(), strict=True))


class PenaltyFigures(NamedTuple):
    """Of one network: share of steps that rise, and root mean square distance to the truth, Ah."""

    rising_share: float
    rmse_Ah: float


def penalty_experiment(kind: str | None, steps: int = 1500, seed: int = 0, weight: float = 300.0) -> PenaltyFigures:
    """A network fitted to noisy fades, with the penalty or without; the fades bend down at a knee, 0.4 % noise, 1.1 Ah.

    Args:
        kind: `hinge`, `softplus`, or None for no penalty.
        steps: of Adam; its rate falls to zero, without which the hinge chatters.
        seed: of noise and weights.
        weight: of the penalty beside the mean squared error in shares of the initial capacity, in units of 0.1 %.
    """
    with reproducible(seed):
        time = torch.linspace(0, 1, 150, dtype=torch.float64)
        knee = torch.tensor([[0.6], [0.75], [0.9], [1.1]], dtype=torch.float64)
        truth = 1.1 - 0.06 * time - 0.12 * torch.exp((time - knee) / 0.1).clamp_max(3.0)
        noisy = truth + 0.0044 * torch.randn_like(truth)
        waves = torch.outer(time, torch.arange(1, 41, dtype=torch.float64)) * torch.pi
        inputs = torch.cat([time[:, None], waves.sin(), waves.cos()], dim=1)
        network = torch.nn.Sequential(torch.nn.Linear(81, 32), torch.nn.Tanh(), torch.nn.Linear(32, len(knee))).double()
        penalty = MonotoneDecayPenalty(kind) if kind else None
        adam = torch.optim.Adam(network.parameters(), lr=0.01)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            adam.zero_grad()
            q = 1.1 + 0.1 * network(inputs).T
            loss = (((q - noisy) / 1.1) ** 2).mean() / 1e-6
            if penalty:
                loss = loss + weight * penalty(q, 1.1) / 1e-3
            loss.backward()
            adam.step()
            falling.step()
        made = q.detach()
        return PenaltyFigures(float((made.diff(dim=1) > 0).double().mean()), float(((made - truth) ** 2).mean().sqrt()))


def penalty_table() -> list[dict[str, object]]:
    """The penalty experiment over five seeds."""
    rows: list[dict[str, object]] = []
    for kind in (None, "hinge", "softplus"):
        found = np.array([penalty_experiment(kind, seed=seed) for seed in range(5)]).mean(axis=0)
        name = kind or "no penalty"
        rows.append({"network": name, "rising steps, %": float(100 * found[0]), "RMSE to the truth, mAh": float(1000 * found[1])})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; with `--out`, write the predictions first. Returns 1 where a figure that is wanted was not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for test2_trajectories.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = severson_cells("train_and_test1")
    if options.out:
        print(f"wrote {write_trajectories(cells, severson_cells('test2'), options.out)}")
    rows, rising = trajectories(cells)
    show(rows, f"{len(cells.names)} cells left out fold by fold; steps of the forecaster that rise: {rising}")
    print("For orientation, measured on test2 by others: held flat 59 mAh; mean curve to foretold life 33 mAh and 10.3 %.")
    penalties = penalty_table()
    show(penalties, "A network fitted to noisy fades, 5 seeds")
    keep(rows, "early_life_trajectories")
    keep(penalties, "monotone_penalty")
    ours = rows[0]
    reached = float(str(ours["mAh"])) < 28 and float(str(ours["end of life, %"])) < 10 and rising == 0
    return int(not (reached and _mended(*penalties)))


def _mended(free: dict[str, object], *held: dict[str, object]) -> bool:
    """Whether each penalty did what is wanted of it."""
    (rising, error), *others = [[float(str(value)) for value in list(row.values())[1:]] for row in (free, *held)]
    return rising > 30 and all(share < 1 and off <= error for share, off in others)


if __name__ == "__main__":
    sys.exit(main())
