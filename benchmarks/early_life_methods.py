"""Several properties at once, transfer to few cells, fusion of views: synthetic tasks whose relation is known, and real cells.

    OMP_NUM_THREADS=1 python benchmarks/early_life_methods.py [--quick] [--only multi_task|transfer|fusion]

Every row is paired: the same draws of cells for both sides, with a 95 % interval over draws (Student's). Draws of real cells
share cells: their intervals tell how the figure hangs on the draw, less of other cells. Nothing is chosen by the cells that an
error is computed on: models choose by cross-validation over their own training cells.

* multi_task: a property with few labels beside one with many, from the same hidden quantities or from others (10 draws). Real:
  the life of Severson's cells known for 12 of them, a milestone of their fade for 50.
* transfer: ten target cells, a source of 120 (20 draws). `same` moves the level; `other head` weighs the hidden quantities anew;
  `other features` turns them by a third; `unrelated` has nothing in common. Real: Severson's train to test1 (same batches), and
  the batch of May 2017 to that of June; XJTU's fixed protocols to its varying ones (relative capacity from charge features).
* fusion: both views matter, or one (10 draws). Real: log10 life of Severson's cells from three views, relative capacity of
  Denso's cells from modulus and phase of their impedance; folds by cell, the ridge of every model chosen inside of them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.early_life_tasks import (
    FEW,
    Case,
    Cells,
    Views,
    denso_views,
    related_properties,
    related_protocols,
    severson_batches,
    severson_properties,
    severson_splits,
    severson_views,
    two_views,
    xjtu_protocols,
)
from benchmarks.tables import keep, show
from orchestrator.learning.folds import grouped_folds
from orchestrator.prognostics.kernel_fusion import MultipleKernelRidge
from orchestrator.prognostics.multi_task import MultiTaskRegressor
from orchestrator.prognostics.network_regressor import NetworkRegressor
from orchestrator.prognostics.transfer import TransferRegressor

Array = NDArray[np.float64]
Row = dict[str, object]


def rmse(said: Array, truth: Array) -> float:
    """Root-mean-squared error."""
    return float(np.sqrt(np.mean((said - truth) ** 2)))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with its 95 % interval (Student's)."""
    mean, reach = float(np.mean(values)), 0.0
    if len(values) > 1:
        reach = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, mean - reach, mean + reach


def beside(own: Sequence[float], other: Sequence[float]) -> Row:
    """The ratio of two sides' errors by draw, as a geometric mean with its 95 % interval."""
    mean, low, high = np.exp(interval(np.log(np.array(own) / np.array(other)).tolist()))
    return {"ratio": f"{mean:.3f} [{low:.3f}, {high:.3f}]"}


def multi_task_rows(draws: int = 10) -> list[Row]:
    """One row per setting and property: errors of the multi-task model and of a model of this property alone."""
    settings: list[tuple[str, Callable[[int], tuple[Array, Array, Array, Array]]]] = [
        (f"{'related' if related else 'unrelated'}, {few} labels", lambda s, r=related, f=few: related_properties(s, r, f))
        for related in (True, False)
        for few in (12, 30)
    ]
    settings.append(("Severson: life of 12 cells, milestone of 50", lambda s: severson_properties(s, 12)))
    return [row for name, draw in settings for row in _multi_task(name, [draw(seed) for seed in range(draws)])]


def _multi_task(name: str, drawn: Sequence[tuple[Array, Array, Array, Array]]) -> list[Row]:
    together: dict[str, list[float]] = {"many": [], "few": []}
    alone: dict[str, list[float]] = {"many": [], "few": []}
    joint: Counter[str] = Counter()
    for X, Y, new, truth in drawn:
        model = MultiTaskRegressor(["many", "few"]).fit(X, Y)
        joint.update(task for task, chosen in model.chosen_.items() if chosen == "joint")
        said = model.predict(new)
        for number, task in enumerate(("many", "few")):
            own = MultiTaskRegressor([task]).fit(X, Y[:, number]).predict(new)[task]
            together[task].append(rmse(said[task], truth[:, number]))
            alone[task].append(rmse(own, truth[:, number]))
    return [
        {
            "setting": name,
            "property": f"with {task} labels",
            "single-task RMSE": float(np.mean(alone[task])),
            "multi-task RMSE": float(np.mean(together[task])),
            **beside(together[task], alone[task]),
            "joint serves": f"{joint[task]} of {len(drawn)}",
        }
        for task in ("many", "few")
    ]


def transfer_rows(draws: int = 20) -> list[Row]:
    """One row per relation: errors on new target cells of the model that serves, of each way, and without the source."""
    relations = ("same", "other head", "other features", "unrelated")
    settings: list[tuple[str, Callable[[int], Case]]] = [(r, lambda s, r=r: related_protocols(s, r)) for r in relations]
    settings += [("Severson, train to test1", severson_splits), ("Severson, May to June", severson_batches)]
    settings += [(f"XJTU, fixed to varying, {n} looks a cell", lambda s, n=n: xjtu_protocols(s, n)) for n in (6, 2)]
    return [_transfer(name, draw, draws) for name, draw in settings]


def _transfer(name: str, draw: Callable[[int], Case], draws: int) -> Row:
    errors: dict[str, list[float]] = {}
    chosen: Counter[str] = Counter()
    for seed in range(draws):
        case = draw(seed)
        source = _source(case.source)
        model = TransferRegressor(source).fit(*case.few)
        chosen[model.chosen_] += 1
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(case.few.X, case.few.y)
        said = {"serves": model.predict(case.new.X), **model.predict_ways(case.new.X)}
        said |= {"ridge, target alone": ridge.predict(case.new.X), "source as it is": source.predict(case.new.X)}
        for way, values in said.items():
            errors.setdefault(way, []).append(rmse(values, case.new.y))
    mean, low, high = interval((np.array(errors["serves"]) - np.array(errors["from_scratch"])).tolist())
    return {
        "relation": name,
        **{way: float(np.mean(each)) for way, each in errors.items()},
        "serves less scratch": f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]",
        "chosen": ", ".join(f"{way} {count}" for way, count in chosen.most_common()),
    }


_SOURCES: dict[bytes, NetworkRegressor] = {}


def _source(cells: Cells) -> NetworkRegressor:
    """The fitted source; real cells make the same one in every draw."""
    key = cells.X.tobytes()
    if key not in _SOURCES:
        _SOURCES.clear()
        _SOURCES[key] = NetworkRegressor().fit(*cells)
    return _SOURCES[key]


RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3)


def fusion_rows(draws: int = 10) -> list[Row]:
    """One row per setting: errors of the fused kernels and of each view alone, weights, and the largest duality gap."""
    synthetic = [
        _fusion(name, [(two_views(seed, matter), np.arange(100), np.arange(100, 400)) for seed in range(draws)])
        for name, matter in (("both views matter", (1.0, 1.0)), ("one view matters", (1.0, 0.0)))
    ]
    real = (("Severson: log10 life", severson_views(), max(1, draws // 2)), ("Denso: relative capacity", denso_views(), 1))
    return synthetic + [
        _fusion(name, [(data, *fold) for fold in grouped_folds(data.groups, len(data.y), 8, repeats=repeats)])
        for name, data, repeats in real
    ]


def _fitted(views: dict[str, Array], y: Array, groups: NDArray[Any]) -> MultipleKernelRidge:
    """Kernels with the ridge that cross-validation over the cells given finds best."""
    folds = grouped_folds(groups, len(y), 4)

    def error(lam: float) -> float:
        said = np.full(len(y), np.nan)
        for train, test in folds:
            model = MultipleKernelRidge(lam).fit({name: values[train] for name, values in views.items()}, y[train])
            said[test] = model.predict({name: values[test] for name, values in views.items()})
        return rmse(said, y)

    return MultipleKernelRidge(min(RIDGES, key=error)).fit(views, y)


def _fusion(name: str, splits: Sequence[tuple[Views, Any, Any]]) -> Row:
    single = list(splits[0][0].views)
    errors: dict[str, list[float]] = {"fused": [], **{view: [] for view in single}}
    weights, gaps, changed = [], [], []
    for data, train, test in splits:
        for chosen in errors:
            some = data.views if chosen == "fused" else {chosen: data.views[chosen]}
            learned, asked = ({view: values[at] for view, values in some.items()} for at in (train, test))
            model = _fitted(learned, data.y[train], data.groups[train])
            said = model.predict(asked)
            errors[chosen].append(rmse(said, data.y[test]))
            if chosen == "fused":
                weights.append(np.asarray(model.weights_))
                gaps.append(model.kkt_gap_)
                larger = MultipleKernelRidge(model.lam).fit({**learned, single[0]: 1e3 * learned[single[0]]}, data.y[train])
                changed.append(float(np.abs(larger.predict({**asked, single[0]: 1e3 * asked[single[0]]}) - said).max()))
    best = min(single, key=lambda view: float(np.mean(errors[view])))
    return {
        "setting": name,
        "fused RMSE": float(np.mean(errors["fused"])),
        "best single": f"{np.mean(errors[best]):.4g} ({best})",
        **beside(errors["fused"], errors[best]),
        "weights": ", ".join(f"{view} {w:.2f}" for view, w in zip(single, np.mean(weights, axis=0), strict=True)),
        "largest gap": max(gaps),
        "one view x 1000 changes": max(changed),
    }


def every_table(quick: bool = False, only: str | None = None) -> Iterator[tuple[str, str, list[Row]]]:
    """Name, title and rows of each table; `quick` takes few draws, to see that all works."""
    draws = 2 if quick else 10
    if only in (None, "multi_task"):
        title = (
            f"Several properties: error of the multi-task model over that of a single-task one ({draws} draws; below 1: better)"
        )
        yield "multi_task", title, multi_task_rows(draws)
    if only in (None, "transfer"):
        title = (
            f"Transfer to {FEW} target cells: RMSE on other target cells ({2 * draws} draws; below 0: better than from scratch)"
        )
        yield "transfer", title, transfer_rows(2 * draws)
    if only in (None, "fusion"):
        yield "kernel_fusion", "Kernel fusion: error over that of the best single view (below 1: better)", fusion_rows(draws)


def main() -> None:
    """Print and keep every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few draws, to see that all works")
    parser.add_argument("--only", choices=["multi_task", "transfer", "fusion"], help="one of the three")
    asked = parser.parse_args()
    for name, title, rows in every_table(asked.quick, asked.only):
        show(rows, title)
        if not asked.quick:
            keep(rows, f"early_life_{name}")


if __name__ == "__main__":
    main()
