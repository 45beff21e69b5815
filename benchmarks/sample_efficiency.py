"""Noisy tests of a finite list: how good the recommended row truly is, beside other optimisers on the same seeds.

    python benchmarks/sample_efficiency.py [--table FILE --target COLUMN] [--seeds 40] [--cells 48,96,192] [--noise 164]
        [--batch 8] [--peers voltloop,random,sobol,optuna-tpe,optuna-gp,baybe,ax] [--out FILE]

Without a table the list is Attia's 224 charging protocols with the simulator's cycle life. Every method of a seed tests the
same first batch, and the k-th cell of all adds the same noise to its row's true life. Each method then recommends by what it
has: Voltloop by its posterior mean, Ax by its model (its own choice, and its best mean over all rows), BayBE by its posterior
mean, the others by the best observed mean. CPU seconds count the proposals alone: what Ax spends on
attaching results is left out. Voltloop runs first; Ax, which takes an hour for 40 seeds, runs last.
`--out` writes Voltloop's recommendations as `seed,n_cells,C1,C2,C3`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import installed  # noqa: I001 - one thread, before numpy is imported
import numpy as np

from benchmarks.landscape import Landscape, read_landscape
from benchmarks.tables import keep, mean_and_error, show
from orchestrator.domain.errors import VoltloopError
from orchestrator.domain.spec_file import data_folder

PEERS = ("voltloop", "random", "sobol", "optuna-tpe", "optuna-gp", "baybe", "ax")
Row = dict[str, Any]


class Method(Protocol):
    """Asked for rows, told results, asked for the best."""

    def propose(self, n: int) -> list[int]:
        """The next n rows."""
        ...

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Results of rows."""
        ...

    def recommend(self) -> dict[str, int]:
        """The row to use, by the name of the way it is chosen."""
        ...


Maker = Callable[[Landscape, float, int], Method]


def maker(name: str) -> Maker:
    """A method's constructor; its library is imported only if it takes part."""
    if name == "voltloop":
        from benchmarks.peers.voltloop_rows import VoltloopRows

        return VoltloopRows
    if name == "ax":
        from benchmarks.peers.ax_rows import AxRows

        return AxRows
    if name == "baybe":
        from benchmarks.peers.baybe_rows import BaybeRows

        return BaybeRows
    if name.startswith("optuna"):
        from benchmarks.peers.optuna_rows import GpRows, TpeRows

        return {"optuna-tpe": TpeRows, "optuna-gp": GpRows}[name]
    from benchmarks.peers.plain import RandomRows, SobolRows

    return {"random": RandomRows, "sobol": SobolRows}[name]


def race(method: Method, landscape: Landscape, noise_sd: float, batch: int, marks: Sequence[int], seed: int) -> list[Row]:
    """One campaign of one method: what it recommends after each of `marks` cells."""
    first = [int(row) for row in np.random.default_rng(seed).choice(len(landscape.rows), batch, replace=False)]
    noise = np.random.default_rng(1000 + seed).normal(0.0, noise_sd, max(marks))
    found: list[Row] = []
    tested, batches, cpu_s, rows = 0, 0, 0.0, first[: marks[0]]
    while True:
        method.tell(rows, [float(landscape.life[row] + noise[tested + k]) for k, row in enumerate(rows)])
        tested += len(rows)
        if tested in marks:
            for name, row in method.recommend().items():
                spent = cpu_s / batches if batches else 0.0
                found.append({"seed": seed, "method": name, "cells": tested, "row": row,
                              "true_life": float(landscape.life[row]), "cpu_s_per_batch": spent})  # fmt: skip
        if tested >= marks[-1]:
            return found
        begun = time.process_time()
        wanted = min(batch, next(mark for mark in marks if mark > tested) - tested)
        rows = method.propose(wanted)
        cpu_s, batches = cpu_s + time.process_time() - begun, batches + 1


def warm_up(make: Maker, landscape: Landscape, noise_sd: float, batch: int) -> None:
    """What happens once in a process (imports, caches) stays out of the times."""
    race(make(landscape, noise_sd, 12345), landscape, noise_sd, batch, [3 * batch], 12345)


def summary(results: Sequence[Row], cells: int) -> list[Row]:
    """Means with standard errors after so many cells, and Voltloop's lead on the same seeds."""
    lives: dict[str, dict[object, float]] = {}
    seconds: dict[str, list[float]] = {}
    for result in results:
        if result["cells"] == cells:
            lives.setdefault(result["method"], {})[result["seed"]] = result["true_life"]
            seconds.setdefault(result["method"], []).append(result["cpu_s_per_batch"])
    ours = lives.get("voltloop", {})
    table: list[Row] = []
    for name, by_seed in lives.items():
        mean, error = mean_and_error(list(by_seed.values()))
        shared = [ours[seed] - life for seed, life in by_seed.items() if seed in ours]
        lead, lead_error = mean_and_error(shared) if shared and name != "voltloop" else (0.0, 0.0)
        table.append({"method": name, "true life": mean, "standard error": error, "seeds": len(by_seed),
                      "voltloop ahead by": lead, "its standard error": lead_error,
                      "in standard errors": lead / lead_error if lead_error else 0.0,
                      "CPU s a batch": float(np.mean(seconds[name]))})  # fmt: skip
    return table


def write_recommendations(path: Path, results: Sequence[Row], landscape: Landscape) -> None:
    """Voltloop's recommendations as `seed,n_cells` and the axes' values."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["seed", "n_cells", *landscape.axes])
        for result in results:
            if result["method"] == "voltloop":
                row = landscape.rows[result["row"]]
                writer.writerow([result["seed"], result["cells"], *(row[a] for a in landscape.axes)])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", default="sim_life")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--cells", default="48,96,192")
    parser.add_argument("--noise", type=float, default=164.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peers", help="comma-separated; all that are installed when left out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--name", default="sample_efficiency", help="of the CSV file in benchmarks/results")
    return parser.parse_args()


def main() -> None:
    """Race the methods and print them side by side."""
    given = arguments()
    try:
        landscape = read_landscape(given.table or data_folder() / "attia_policies_sim.csv", given.target)
    except (KeyError, VoltloopError) as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        raise SystemExit(2) from None
    marks = sorted(int(cells) for cells in given.cells.split(","))
    results: list[Row] = []
    for name in installed(given.peers, PEERS, maker):
        make = maker(name)
        warm_up(make, landscape, given.noise, given.batch)
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            found = race(make(landscape, given.noise, seed), landscape, given.noise, given.batch, marks, seed)
            results += found
            last = {r["method"]: r["true_life"] for r in found if r["cells"] == marks[-1]}
            print(f"seed {seed} {name}: {last}, {found[-1]['cpu_s_per_batch']:.2f} CPU s a batch", flush=True)
        kept = keep(results, given.name)
        if given.out:
            write_recommendations(given.out, results, landscape)
    for cells in marks:
        show(summary(results, cells), f"True life of what is recommended after {cells} cells, batch {given.batch}, "
             f"noise sd {given.noise:g} (best of all: {landscape.life.max():g})")  # fmt: skip
    print(f"kept in {kept}")


if __name__ == "__main__":
    main()
