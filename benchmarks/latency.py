"""How long a proposal takes: four candidates, two objectives and a constraint, one thread, one new observation, refit included.

    python benchmarks/latency.py [--trials 50,300,1000] [--repeats 3] [--growth 100,178,316,562,1000] [--rows 100000]
        [--features 64] [--no-ax] [--no-table]

The trials are random points of C2DTLZ2 with four parameters, told with a standard error of 2 % of the metrics' spread. What is
timed:

* `tick`: the campaign has proposed before, one observation came in, and it proposes again;
* `fresh`: a process that has seen none of these data proposes from all of them, everything fitted anew;
* `ax`: Ax's Client has proposed before, one observation came in, and it proposes again;
* `ax + attach`: the same Client set up from the trials, as Voltloop is at every tick.

Times are CPU seconds of this process (on shared cores wall time measures the neighbours), medians over repeats with other data.
The growth exponent is the slope of log time over log trials, with its standard error. Voltloop turns BoTorch's compiled kernel of
qLogNEHVI off for the process; Ax runs without it here too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import benchmarks.peers  # noqa: F401, I001 - one thread, before numpy is imported
import numpy as np
import orchestrator.proposal.botorch_model  # noqa: F401 - no compiler in the middle of a measurement
import torch

from benchmarks.fronts import FrontProblem
from benchmarks.peers.task import Matrix, Task
from benchmarks.peers.voltloop_box import VoltloopBox
from benchmarks.tables import keep, show
from orchestrator.campaign import Campaign
from orchestrator.domain import CampaignSpec, CandidateTable, Estimate, Objective, OutcomeConstraint, Trial, TrialStatus

BATCH = 4
NOISE_SHARE = 0.02
Row = dict[str, Any]


def data(trials: int, repeat: int) -> tuple[Task, Matrix, Matrix]:
    """A task and one result more than `trials`."""
    problem = FrontProblem("C2DTLZ2 d=4")
    rng = np.random.default_rng([trials, repeat])
    X = rng.random((trials + 1, 4))
    Y = problem.measure(X)
    noise_sd = NOISE_SHARE * float(Y.std(axis=0).mean())
    task = problem.task(2 * trials, repeat)
    noisy = Task(task.dimension, task.objectives, task.limit, task.trials, task.seed, noise_sd)
    return noisy, X, Y + noise_sd * rng.standard_normal(Y.shape)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def voltloop_times(trials: int, repeat: int) -> Row:
    """The next tick, and a proposal from data never seen."""
    task, X, Y = data(trials, repeat)
    ticking = VoltloopBox(task)
    ticking.tell(X[:-1], Y[:-1])
    ticking.propose(BATCH)
    ticking.tell(X[-1:], Y[-1:])
    tick = cpu_s(lambda: ticking.propose(BATCH))
    task, X, Y = data(trials, repeat + 1000)
    fresh = VoltloopBox(task)
    fresh.tell(X, Y)
    return {"trials": trials, "repeat": repeat, "tick": tick, "fresh": cpu_s(lambda: fresh.propose(BATCH))}


def ax_times(trials: int, repeat: int) -> Row:
    """The client's next proposal, with and without setting it up."""
    from benchmarks.peers.ax_box import AxBox

    task, X, Y = data(trials, repeat)
    client = AxBox(task)
    attach = cpu_s(lambda: client.tell(X[:-1], Y[:-1]))
    client.propose(BATCH)
    client.forget()
    attach += cpu_s(lambda: client.tell(X[-1:], Y[-1:]))
    proposal = cpu_s(lambda: client.propose(BATCH))
    return {"trials": trials, "repeat": repeat, "ax": proposal, "ax + attach": proposal + attach}


def medians(rows: Sequence[Row], name: str) -> dict[int, float]:
    """The median over repeats of a time, by trials."""
    return {n: statistics.median(r[name] for r in rows if r["trials"] == n) for n in sorted({r["trials"] for r in rows})}


def growth(times: dict[int, float]) -> tuple[float, float]:
    """Slope of log time over log trials, and its standard error."""
    x, y = np.log(list(times)), np.log(list(times.values()))
    slope, level = np.polyfit(x, y, 1)
    left = y - slope * x - level
    spread = float((left**2).sum() / max(len(x) - 2, 1))
    return float(slope), float(np.sqrt(spread / ((x - x.mean()) ** 2).sum()))


def long_table(rows: int, features: int, several: bool) -> Row:
    """A proposal from a long list, after 100 results: the first of the process, and one after another observation."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features))
    names = [f"f{j}" for j in range(features)]
    begun = time.process_time()
    table = CandidateTable([dict(zip(names, map(float, x), strict=True)) for x in X], names)
    made = time.process_time() - begun
    truths = {"y0": X[:, :5].sum(axis=1), "y1": -X[:, 3:8].sum(axis=1), "c": X[:, 0]}
    objectives = (Objective("y0", "maximize"), *((Objective("y1", "maximize"),) if several else ()))
    constraints = (OutcomeConstraint("c", upper=1.0),) if several else ()
    spec = CampaignSpec(name="long", space=table, objectives=objectives, constraints=constraints)
    trials = [
        Trial(k + 1, table.candidate(int(row)), TrialStatus.COMPLETED,
              outcome={m: Estimate(float(truths[m][row] + 0.1 * rng.standard_normal()), sem=0.1) for m in spec.metrics})
        for k, row in enumerate(rng.choice(rows, 101, replace=False))
    ]  # fmt: skip
    first = cpu_s(lambda: Campaign(spec, tuple(trials[:-1])).with_reference_point().propose(BATCH))
    second = cpu_s(lambda: Campaign(spec, tuple(trials)).with_reference_point().propose(BATCH))
    return {"rows": rows, "features": features, "objectives": len(objectives), "constraints": len(constraints),
            "making the table": made, "first proposal": first, "next tick": second}  # fmt: skip


def versus_ax(sizes: Sequence[int], repeats: int, with_ax: bool) -> list[Row]:
    """Medians and ratios by number of trials."""
    rows, peers = [], []
    for trials in sizes:
        for repeat in range(repeats):
            rows.append(voltloop_times(trials, repeat))
            print(f"{trials} trials: {rows[-1]}", flush=True)
        for repeat in range(repeats if trials <= 300 else 1) if with_ax else ():
            peers.append(ax_times(trials, repeat))
            print(f"{trials} trials: {peers[-1]}", flush=True)
    keep([*rows], "latency_voltloop")
    times = {name: medians(rows, name) for name in ("tick", "fresh")}
    if peers:
        keep(peers, "latency_ax")
        times |= {name: medians(peers, name) for name in ("ax", "ax + attach")}
    found = []
    for trials in sizes:
        line: Row = {"trials": trials} | {f"{name}, s": by_trials[trials] for name, by_trials in times.items()}
        if peers:
            line |= {f"{theirs} / {ours}": times[theirs][trials] / times[ours][trials]
                     for ours in ("tick", "fresh") for theirs in ("ax", "ax + attach")}  # fmt: skip
        found.append(line)
    return found


def growth_table(sizes: Sequence[int], repeats: int) -> None:
    """Times from 100 to 1 000 trials and the exponent they grow with."""
    rows = [voltloop_times(trials, repeat) for trials in sizes for repeat in range(repeats)]
    keep(rows, "latency_growth")
    found = []
    for name in ("tick", "fresh"):
        times = medians(rows, name)
        slope, error = growth(times)
        found.append({"": name} | {f"n = {n}, s": t for n, t in times.items()} | {"exponent": slope, "standard error": error})
    show(found, "Growth of the proposal's time with the number of trials (wanted: exponent at most 1.5)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="50,300,1000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--growth", default="100,178,316,562,1000")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--no-ax", action="store_true")
    parser.add_argument("--no-table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    voltloop_times(20, 0)
    if not given.no_ax:
        ax_times(20, 0)
    if given.trials:
        found = versus_ax([int(n) for n in given.trials.split(",")], given.repeats, not given.no_ax)
        show(found, f"CPU seconds for {BATCH} candidates (load average {os.getloadavg()[0]:.1f})")
    if given.growth:
        growth_table([int(n) for n in given.growth.split(",")], given.repeats)
    if not given.no_table:
        kinds = [long_table(given.rows, given.features, several) for several in (False, True)]
        keep(kinds, "latency_table")
        show(kinds, "A long list, CPU seconds")


if __name__ == "__main__":
    main()
