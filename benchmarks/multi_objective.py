"""Two objectives and a constraint: the hypervolume after equal numbers of trials, on the same seeds.

    python benchmarks/multi_objective.py [--seeds 20] [--evaluations 40] [--batch 4] [--peers voltloop,ax,baybe,sobol]

C2DTLZ2 with four parameters and constrained Branin-Currin (BoTorch's test functions and reference points), without noise, which
Voltloop and Ax are told. Every method makes its own first design. BayBE has no outcome constraints: results beyond the limit are
told to it as the reference point. Only feasible results count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import installed  # noqa: I001 - one thread, before numpy is imported
import numpy as np

from benchmarks.box_methods import box_method
from benchmarks.fronts import PROBLEMS, FrontProblem
from benchmarks.tables import keep, mean_and_error, show

PEERS = ("voltloop", "ax", "baybe", "sobol")
Row = dict[str, Any]


def campaign(name: str, problem_name: str, evaluations: int, batch: int, seed: int) -> list[Row]:
    """One campaign: the hypervolume after each batch."""
    problem = FrontProblem(problem_name)
    method = box_method(name)(problem.task(evaluations, seed))
    Y, rows = np.zeros((0, len(problem.reference) + 1)), []
    while len(Y) < evaluations:
        begun = time.process_time()
        X = method.propose(min(batch, evaluations - len(Y)))
        spent = time.process_time() - begun
        results = problem.measure(X)
        method.tell(X, results)
        Y = np.vstack([Y, results])
        rows.append({"problem": problem_name, "seed": seed, "method": name, "evaluations": len(Y),
                     "hypervolume": problem.hypervolume(Y), "cpu_s": spent})  # fmt: skip
    return rows


def summary(rows: Sequence[Row], problem: str, evaluations: int) -> list[Row]:
    """A line for each method, with Voltloop's lead on the same seeds."""
    ends = {
        (r["method"], r["seed"]): r["hypervolume"] for r in rows if (r["problem"], r["evaluations"]) == (problem, evaluations)
    }
    found: list[Row] = []
    for name in dict.fromkeys(method for method, _ in ends):
        mine = {seed: volume for (method, seed), volume in ends.items() if method == name}
        mean, error = mean_and_error(list(mine.values()))
        shared = [ends["voltloop", seed] - volume for seed, volume in mine.items() if ("voltloop", seed) in ends]
        lead, lead_error = mean_and_error(shared) if shared and name != "voltloop" else (0.0, 0.0)
        seconds = [r["cpu_s"] for r in rows if r["problem"] == problem and r["method"] == name]
        found.append({"method": name, "hypervolume": mean, "standard error": error, "seeds": len(mine),
                      "voltloop ahead by": lead, "its standard error": lead_error,
                      "CPU s a batch": float(np.mean(seconds))})  # fmt: skip
    return found


def main() -> None:
    """Run the campaigns and print a table for each problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--peers", help="comma-separated; all that are installed when left out")
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--name", default="multi_objective", help="of the CSV file in benchmarks/results")
    given = parser.parse_args()
    methods = installed(given.peers, PEERS, box_method)
    rows: list[Row] = []
    for problem in given.problems.split(","):
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for name in methods:
                rows += (found := campaign(name, problem, given.evaluations, given.batch, seed))
                spent = sum(r["cpu_s"] for r in found)
                print(f"{problem} seed {seed} {name}: {found[-1]['hypervolume']:.4g}, {spent:.0f} CPU s", flush=True)
            kept = keep(rows, given.name)
        best = FrontProblem(problem).best
        show(
            summary(rows, problem, given.evaluations), f"{problem}: hypervolume after {given.evaluations} (possible: {best:.4g})"
        )
    print(f"kept in {kept}")


if __name__ == "__main__":
    main()
