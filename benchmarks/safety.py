"""Campaigns with a limit that must not be passed: how often it is, and what is found all the same.

    python benchmarks/safety.py [--dimensions 3,5] [--campaigns 40] [--peer-campaigns 10] [--experiments 40] [--batch 1]
        [--first-seed 0] [--peers voltloop,ax,plain-safe-set,random]

The problems are those of `benchmarks/problems.py`, one for each campaign: a third of the box is unsafe, so is the unconstrained
optimum, noise is 2 % of the range, four safe seeds are known. Every method tests the seeds first (they count among the
experiments) and is told the noise; the k-th test of all adds the same noise. A violation is a test whose true hazard passes
the limit; its rate over all experiments comes with Wilson's upper bound (95 %, two-sided). Best feasible is the largest true
value among tested points that keep the limit, in percent of the safe optimum of the whole box. Ax has its default outcome
constraint; the plain safe set is BoTorch's default model with two sds. Where a method says what it believed of a test's hazard
(mean, and sd with the spread between cells), the errors of what was measured are given in sds of belief and noise: their root
mean square is 1 for a belief that is right. The method was tuned on seeds from 1000.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import installed  # noqa: I001 - one thread, before numpy is imported
import numpy as np

from benchmarks.box_methods import box_method
from benchmarks.peers.task import Matrix, Task
from benchmarks.problems import NOISE_SD, SafeProblem, safe_problem
from benchmarks.tables import keep, mean_and_error, show, wilson_upper

PEERS = ("voltloop", "ax", "plain-safe-set", "random")
Row = dict[str, Any]


def task_of(problem: SafeProblem, experiments: int) -> Task:
    """What every method is told of a problem."""
    limit = ("hazard", problem.limit)
    return Task(problem.dimension, {"value": None}, limit, experiments, problem.seed, NOISE_SD, problem.safe_seeds)


def campaign(name: str, problem: SafeProblem, experiments: int, batch: int) -> list[Row]:
    """One campaign: a row for every test, with the true value and hazard."""
    method, noise = box_method(name)(task_of(problem, experiments)), problem.noise(experiments)
    X, rows = problem.safe_seeds, []
    cpu_s = 0.0
    while len(X):
        value, hazard = problem.value(X), problem.hazard(X)
        told = noise[len(rows) : len(rows) + len(X)]
        method.tell(X, np.column_stack([value, hazard]) + told)
        errors = _errors(getattr(method, "believed", ()), hazard + told[:, 1])
        for v, h, error in zip(value, hazard, errors, strict=True):
            rows.append({"dimension": problem.dimension, "seed": problem.seed, "method": name, "test": len(rows) + 1,
                         "value": float(v / problem.safe_optimum), "excess": float(h - problem.limit), "error": error,
                         "cpu_s": cpu_s / len(X)})  # fmt: skip
        begun = time.process_time()
        X = method.propose(min(batch, experiments - len(rows))) if len(rows) < experiments else X[:0]
        cpu_s = time.process_time() - begun
    return rows


def _errors(believed: Sequence[tuple[float, float]], measured: Matrix) -> list[float]:
    """The standardised errors of the hazards measured; NaN where nothing was believed."""
    if len(believed) != len(measured):
        return [math.nan] * len(measured)
    return [float((m - mean) / math.hypot(sd, NOISE_SD)) for m, (mean, sd) in zip(measured, believed, strict=True)]


def summary(rows: Sequence[Row], dimension: int, experiments: int) -> list[Row]:
    """A line for each method: violations with their bound, best feasible half-way and at the end."""
    found: list[Row] = []
    for name in dict.fromkeys(r["method"] for r in rows if r["dimension"] == dimension):
        mine = [r for r in rows if r["dimension"] == dimension and r["method"] == name]
        seeds = sorted({r["seed"] for r in mine})
        passed = sum(r["excess"] > 0 for r in mine)
        errors = np.array([r["error"] for r in mine if not math.isnan(r["error"])])
        half, half_error = mean_and_error([_best(mine, seed, experiments // 2) for seed in seeds])
        full, full_error = mean_and_error([_best(mine, seed, experiments) for seed in seeds])
        found.append({"method": name, "campaigns": len(seeds), "experiments": len(mine), "violations": passed,
                      "%": 100 * passed / len(mine), "Wilson upper %": 100 * wilson_upper(passed, len(mine)),
                      "campaigns with one": len({r["seed"] for r in mine if r["excess"] > 0}),
                      f"best feasible % at {experiments // 2}": half, "s.e.": half_error,
                      f"at {experiments}": full, "s.e. ": full_error,
                      "sd of hazard errors": float(np.sqrt((errors**2).mean())) if len(errors) else math.nan,
                      "> 2 sd %": float(100 * (errors > 2).mean()) if len(errors) else math.nan,
                      "CPU s a proposal": float(np.mean([r["cpu_s"] for r in mine]))})  # fmt: skip
    return found


def _best(rows: Sequence[Row], seed: int, tests: int) -> float:
    """The best feasible value of a campaign's first tests, in percent of the safe optimum."""
    values = [
        r["value"] for r in rows
        if r["seed"] == seed and r["test"] <= tests and r["excess"] <= 0
    ]  # fmt: skip
    return 100 * max(values)


def main() -> None:
    """Run the campaigns, peers on fewer of them, and print a table for each dimension."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", default="3,5")
    parser.add_argument("--campaigns", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--peer-campaigns", type=int, default=10)
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--peers", help="comma-separated; all that are installed when left out")
    parser.add_argument("--name", default="safety", help="of the CSV file in benchmarks/results")
    given = parser.parse_args()
    methods = installed(given.peers, PEERS, box_method)
    rows: list[Row] = []
    for dimension in (int(d) for d in given.dimensions.split(",")):
        for seed in range(given.first_seed, given.first_seed + given.campaigns):
            problem = safe_problem(seed, dimension)
            for name in methods:
                if name != "voltloop" and seed >= given.first_seed + given.peer_campaigns:
                    continue
                found = campaign(name, problem, given.experiments, given.batch)
                rows += found
                passed = sum(r["excess"] > 0 for r in found)
                half, full = (_best(found, seed, n) for n in (given.experiments // 2, given.experiments))
                print(f"{dimension}-D seed {seed} {name}: {passed} violations in {len(found)}, best feasible "
                      f"{half:.1f} % then {full:.1f} %, {sum(r['cpu_s'] for r in found):.0f} CPU s", flush=True)  # fmt: skip
            kept = keep(rows, given.name)
        title = f"{dimension} parameters: violations, and best feasible value in % of the safe optimum"
        show(summary(rows, dimension, given.experiments), title)
    print(f"kept in {kept}")


if __name__ == "__main__":
    main()
