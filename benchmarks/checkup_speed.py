"""How long a simulated life test of 24 check-ups takes on one core, after the cell's model has been built.

    OMP_NUM_THREADS=1 python benchmarks/checkup_speed.py [--repeats 3]

Wanted: under 5 s where the ageing cycles themselves are recorded, under 20 s with a reference performance test (slow capacity,
pulse) after every one and an impedance spectrum in every other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.simulated.cell_model import pybamm_cell
from adapters.simulated.cell_presets import PRESETS
from adapters.simulated.instrument import Instrument
from adapters.simulated.life_test import CheckUp, LifeTest
from benchmarks.tables import keep, show
from orchestrator.domain import Candidate, Protocol, RunRequest
from orchestrator.domain.cell_design import cell_design
from orchestrator.representation.charging import cc_cv, reference_performance

CHECKUPS = 24
CHARGE_RATE_C = {"lfp_a123": 4.0, "nmc_lgm50": 1.0}


def request(cell: str, checkup: Protocol | None, spectra_every: int) -> RunRequest:
    """A test that has at least 24 check-ups before the cell dies."""
    design, candidate = cell_design(cell), Candidate({"charge_rate_C": CHARGE_RATE_C[cell]})
    return RunRequest(
        "speed", "1", candidate, design, cc_cv(candidate, design), max_cycles=5000, end_of_life=0.5,
        checkup_every_cycles=25, checkup=checkup, impedance_every_checkups=spectra_every,
    )  # fmt: skip


def timed(asked: RunRequest) -> tuple[float, int]:
    """Seconds to compute the check-ups and to record them, and the rows recorded."""
    began = time.perf_counter()
    found = [c for c in islice(LifeTest(asked, 0, pybamm_cell(asked.cell.name)).run(), CHECKUPS) if isinstance(c, CheckUp)]
    assert len(found) == CHECKUPS
    assert not any(c.broken for c in found)
    rows = sum(len(Instrument(0, asked.key, c.cycle).measure(c.samples)["time_s"]) for c in found)
    return time.perf_counter() - began, rows


def main() -> None:
    """Time every kind of check-up on every cell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    table = []
    for cell in PRESETS:
        whole = reference_performance(Candidate({}), cell_design(cell))
        bare = Protocol(whole.without_impedance(), whole.limits)
        began = time.perf_counter()
        timed(request(cell, whole, 1))
        print(f"{cell}: model built and warmed up in {time.perf_counter() - began:.1f} s")
        for what, checkup, every, wanted in (
            ("none: the cycle itself", None, 1, 5),
            ("capacity and pulse", bare, 1, 20),
            ("and a spectrum at every other", whole, 2, 20),
            ("and a spectrum at each", whole, 1, 20),
        ):
            runs = [timed(request(cell, checkup, every)) for _ in range(repeats)]
            seconds = [s for s, _ in runs]
            figures = {"median_s": round(statistics.median(seconds), 2), "slowest_s": round(max(seconds), 2)}
            table.append({"cell": cell, "checkup": what, **figures, "wanted_s": wanted, "rows": runs[0][1]})
    show(table, f"{CHECKUPS} check-ups on one core, {repeats} times each")
    keep(table, "checkup_speed")


if __name__ == "__main__":
    main()
