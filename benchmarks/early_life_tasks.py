"""What the methods for early outcomes are tried on: synthetic tasks whose relation is known, and real cells."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.prognostics.early_curves import CAPACITY, EARLY, ROOT_CHANGE, SUMMARY, early_life_features
from orchestrator.store.datasets import open_dataset

Array = NDArray[np.float64]
OUTLIER = "test1_22"
FEW = 10


class Cells(NamedTuple):
    """Rows with their targets and the cell of each."""

    X: Array
    y: Array
    groups: NDArray[Any]

    def of(self, chosen: Array) -> Cells:
        """The rows of some cells."""
        there = np.isin(self.groups, chosen)
        return Cells(self.X[there], self.y[there], self.groups[there])


class Case(NamedTuple):
    """One draw of a transfer: a source, few target cells, and the target cells that errors are computed on."""

    source: Cells
    few: Cells
    new: Cells


def related_properties(seed: int, related: bool, few: int, many: int = 100, new: int = 400) -> tuple[Array, Array, Array, Array]:
    """Features, labels with gaps, new features and truth: the second property has `few` labels, the first `many`."""
    rng = np.random.default_rng([1, seed])
    X = rng.normal(size=(many + new, 6))
    one, other = rng.normal(size=(2, 6, 2)) / math.sqrt(6)

    def hidden(W: Array) -> Array:
        return np.column_stack([np.tanh(2 * X @ W[:, 0]), np.sin(1.5 * X @ W[:, 1])])

    Y = np.column_stack([hidden(one).sum(axis=1), hidden(one if related else other) @ [1.0, 0.6]])
    Y /= Y.std(axis=0)
    labels = Y[:many] + 0.1 * rng.normal(size=(many, 2))
    labels[few:, 1] = np.nan
    return X[:many], labels, X[many:], Y[many:]


def severson_properties(seed: int, few: int) -> tuple[Array, Array, Array, Array]:
    """The same of real cells: log10 of the cycles to 1.04 Ah (all training cells) and log10 of life (`few` of them)."""
    cells = severson_cells()
    X, milestone = cells.X, cells.milestone
    order = np.random.default_rng([2, seed]).permutation(np.flatnonzero(~np.isnan(milestone)))
    known, new = order[:50], order[50:]
    Y = np.column_stack([milestone, cells.life])
    labels = Y[known].copy()
    labels[few:, 1] = np.nan
    return X[known], labels, X[new], Y[new]


def related_protocols(seed: int, relation: str, many: int = 120, few: int = FEW, new: int = 400) -> Case:
    """Two protocols: lives come from three hidden quantities of six features, in standard deviations of the target."""
    rng = np.random.default_rng([3, seed])
    own, others = rng.normal(size=(2, 6, 3)) / math.sqrt(6)
    X = rng.normal(size=(many + few + new, 6))

    def life(W: Array, head: Sequence[float]) -> Array:
        return np.column_stack([np.tanh(2 * X @ W[:, 0]), np.sin(1.5 * X @ W[:, 1]), X @ W[:, 2]]) @ head

    targets = {
        "same": life(own, (1, 1, 0.5)) + 0.3,
        "other head": life(own, (0.4, 1.2, 0.5)) + 0.5,
        "other features": life(own + 0.3 * others, (1, 1, 0.5)),
        "unrelated": life(others, (1, 1, 0.5)),
    }
    y = targets[relation] / targets[relation].std()
    source = life(own, (1, 1, 0.5)) / targets[relation].std()
    noise, number = 0.1 * rng.normal(size=len(X)), np.arange(len(X))
    a, b, c = np.split(number, [many, many + few])
    return Case(Cells(X[a], (source + noise)[a], a), Cells(X[b], (y + noise)[b], b), Cells(X[c], y[c], c))


class OpenCells(NamedTuple):
    """Severson's cells whose lives are public, without the outlier.

    Attributes:
        X: features of the first 100 cycles, shape (cells, features).
        change, early: the signed root of Q100(V) - Q10(V), and Q10(V), shape (cells, voltages) each.
        milestone, life: log10 of the cycles to 1.04 Ah (NaN where not public), and to 0.88 Ah, shape (cells,).
        batch, names: when the cell's batch began, and its name, shape (cells,).
    """

    X: Array
    change: Array
    early: Array
    milestone: Array
    life: Array
    batch: NDArray[Any]
    names: NDArray[Any]


@cache
def severson_cells() -> OpenCells:
    """Severson's open cells."""
    curves = _open(open_dataset("severson_qv").curves)
    tables = [early_life_features(c.voltage_V, c.cycle_count, c.discharge_capacity_Ah, c.sound) for c in curves]
    values, columns = np.vstack([table.values for table in tables]), tables[0].names
    whole = [name.rpartition("_")[0] if name[-1].isdigit() else "" for name in columns]
    chosen = [
        [i for i, name in enumerate(columns) if name in (*SUMMARY, *CAPACITY)],
        *([i for i, curve in enumerate(whole) if curve == part] for part in (ROOT_CHANGE, EARLY)),
    ]
    names = np.concatenate([c.cell_ids for c in curves])
    table = {row["cell_id"]: row for row in open_dataset("severson_protocols").tables["cells"].iter_rows(named=True)}
    life = np.log10([float(table[name]["cycle_life"]) for name in names])
    batch = np.array([str(table[name]["batch_date"]) for name in names])
    passed = _milestones()
    milestone = np.log10([passed.get(name, np.nan) for name in names])
    kept = (names != OUTLIER) & np.isfinite(values).all(axis=1)
    parts = (*(values[:, some] for some in chosen), milestone, life, batch, names)
    return OpenCells(*(part[kept] for part in parts))


def _open(curves: Mapping[str, Any]) -> list[Any]:
    return [curves["train"], curves["test1"]]


def _milestones() -> dict[str, float]:
    """The first cycle after the 100th at which the median of five capacities is below 1.04 Ah, by cell."""
    table = open_dataset("severson_capacity").tables["train_and_test1"].sort("cell_id", "cycle_count")
    smooth = table.with_columns(pl.col("discharge_capacity_Ah").rolling_median(5, center=True).over("cell_id").alias("median_Ah"))
    below = smooth.filter(pl.col("cycle_count") > 100, pl.col("median_Ah") < 1.04)
    return dict(below.group_by("cell_id").agg(pl.col("cycle_count").min().cast(pl.Float64)).iter_rows())


def severson_splits(seed: int) -> Case:
    """From the cells of train to ten of test1, of the same batches and other protocols; log10 life."""
    known = severson_cells()
    cells, train = Cells(known.X, known.life, known.names), np.char.startswith(known.names.astype(str), "train")
    return _drawn(cells.of(known.names[train]), cells.of(known.names[~train]), seed)


def severson_batches(seed: int) -> Case:
    """From the batch of May 2017 to ten cells of that of June; log10 life."""
    known = severson_cells()
    cells, earlier = Cells(known.X, known.life, known.names), known.batch == "2017-05-12"
    return _drawn(cells.of(known.names[earlier]), cells.of(known.names[~earlier]), seed)


@cache
def _charges() -> Cells:
    """XJTU: six cycles of each cell, evenly spaced over its test; capacity over that of its first cycle."""
    table = open_dataset("xjtu_features").tables["cycles"].sort("cell_id", "cycle_count")
    features = [name for name in table.columns if name not in ("cell_id", "cycle_count", "capacity_Ah")]
    rows = []
    for (cell,), part in table.partition_by("cell_id", maintain_order=True, as_dict=True).items():
        finite = part.filter(pl.all_horizontal(pl.col(name).is_finite() for name in features))
        chosen = finite[np.linspace(0, len(finite) - 1, 6).round().astype(int).tolist()]
        capacity = chosen["capacity_Ah"].to_numpy() / part["capacity_Ah"][0]
        rows.append((chosen.select(features).to_numpy(), capacity, np.repeat(cell, 6)))
    return Cells(*(np.concatenate(each) for each in zip(*rows, strict=True)))


def xjtu_protocols(seed: int, looks: int = 6) -> Case:
    """From cells at fixed 2C and 3C to ten of those on varying protocols, measured `looks` times each; relative capacity."""
    cells = _charges()
    fixed = np.array([str(name).startswith(("2C", "3C")) for name in cells.groups])
    case = _drawn(cells.of(cells.groups[fixed]), cells.of(cells.groups[~fixed]), seed)
    rng = np.random.default_rng([6, seed])
    seen = np.concatenate(
        [rng.permutation(np.flatnonzero(case.few.groups == cell))[:looks] for cell in np.unique(case.few.groups)]
    )
    return case._replace(few=Cells(*(part[np.sort(seen)] for part in case.few)))


def _drawn(source: Cells, target: Cells, seed: int) -> Case:
    order = np.random.default_rng([4, seed]).permutation(np.unique(target.groups))
    return Case(source, target.of(order[:FEW]), target.of(order[FEW:]))


class Views(NamedTuple):
    """Views of the same rows, their targets, and the cell of each row."""

    views: dict[str, Array]
    y: Array
    groups: NDArray[Any]


def two_views(seed: int, matter: tuple[float, float], rows: int = 400) -> Views:
    """A target that an impedance view and a cycling view explain in part each."""
    rng = np.random.default_rng([5, seed])
    views = {"eis": rng.normal(size=(rows, 3)), "cycling": rng.normal(size=(rows, 2))}
    y = matter[0] * np.sin(1.5 * views["eis"][:, 0]) + matter[1] * np.cos(1.5 * views["cycling"][:, 1])
    return Views(views, y + 0.1 * rng.normal(size=rows), np.arange(rows))


def denso_views() -> Views:
    """Modulus and phase of Denso's spectra, each with temperature and state of charge; relative capacity."""
    data = open_dataset("eis_denso")
    table = data.tables["spectra"].filter(pl.col("relative_capacity").is_not_null())
    Z = np.stack([data.spectra[row].Z_ohm for row in table["spectrum"]])
    conditions = table.select("temperature_degC", "state_of_charge").to_numpy()
    # Impedance grows by tens between 25 and -10 degC: a logarithm compares its shape.
    views = {"modulus": np.column_stack([np.log(np.abs(Z)), conditions]), "phase": np.column_stack([np.angle(Z), conditions])}
    return Views(views, table["relative_capacity"].to_numpy(), table["cell"].to_numpy())


def severson_views() -> Views:
    """How Severson's discharge curves changed over 90 cycles, how they began, and what the capacity did; log10 life."""
    cells = severson_cells()
    views = {"change": cells.change, "early curve": cells.early, "capacity": cells.X[:, len(SUMMARY) :]}
    return Views(views, cells.life, cells.names)
