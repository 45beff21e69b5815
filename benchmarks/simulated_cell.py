"""The simulated LFP cell beside the real ones it imitates: lives, early signal, fade, and what charge rate and heat cost.

    python benchmarks/simulated_cell.py [--seeds 100 101 102] [--splits train test1] [--held-out] [--processes 1]

The simulated cells are synthetic: they are calibrated to summary statistics of Severson 2019 (benchmarks/calibrate_cell.py,
on half of the training protocols with seeds below 100) and say nothing about real cells. Each seed is one set: a cell for
each real protocol, another individual each. Five minutes a set and process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.simulated import ageing
from adapters.simulated.ageing import CellIndividual, Stress
from adapters.simulated.cell_steps import CyclingCell
from adapters.simulated.instrument import Instrument
from adapters.simulated.life_test import CheckUp, LifeTest
from benchmarks.severson import (
    AMBIENT_DEGC,
    DESIGN,
    DISCHARGE_RATE_C,
    END_OF_LIFE_AH,
    VOLTS,
    Array,
    LifeRecord,
    SeversonCell,
    cells,
    figures,
    real_records,
    tuning_cells,
)
from benchmarks.tables import keep, show
from orchestrator.domain import Candidate, Protocol, RunRequest
from orchestrator.representation.charging import multistep_charge

MOST_CYCLES = 6000
Timed = tuple[LifeRecord | None, float]


def request(key: str, protocol: Protocol, ambient_degC: float = AMBIENT_DEGC) -> RunRequest:
    """A life test to 0.88 Ah with check-ups as far apart as the ageing law allows."""
    return RunRequest(
        key=key,
        channel="1",
        candidate=Candidate({}),
        cell=DESIGN,
        protocol=protocol,
        max_cycles=MOST_CYCLES,
        checkup_every_cycles=MOST_CYCLES,
        ambient_temperature_degC=ambient_degC,
    )


def simulated_record(name: str, seed: int, wanted: RunRequest, cell: CyclingCell) -> LifeRecord | None:
    """One life test as the instrument saw it; None where it did not end by fading, or before cycle 100."""
    checkups = [c for c in LifeTest(wanted, seed, cell).run() if isinstance(c, CheckUp)]
    by_cycle = {c.cycle: c for c in checkups}
    if checkups[-1].broken is not None or checkups[-1].capacity_Ah >= END_OF_LIFE_AH or not {10, 100} <= set(by_cycle):
        return None
    early, late = (measured_curve(by_cycle[n], seed, wanted.key) for n in (10, 100))
    cycles, capacity = (np.array([float(getattr(c, n)) for c in checkups]) for n in ("cycle", "capacity_Ah"))
    life = float(np.interp(-END_OF_LIFE_AH, -capacity[-2:], cycles[-2:]))
    return LifeRecord(name, life, late - early, cycles, capacity)


def measured_curve(checkup: CheckUp, seed: int, key: str) -> Array:
    """Q(V) of the constant-current discharge that begins a check-up, as the channel measured it, at `VOLTS`."""
    rows = Instrument(seed, key, checkup.cycle).measure(checkup.samples)
    first = rows["step"] == rows["step"][0]
    falling = np.minimum.accumulate(rows["voltage_V"][first])
    return np.interp(-VOLTS, -falling, rows["discharged_Ah"][first], left=0.0)


def one_cell(task: tuple[SeversonCell, int]) -> Timed:
    """The simulated cell of a real one's protocol, and the seconds that its test took."""
    from adapters.simulated.cell_model import pybamm_cell

    real, seed = task
    cell = pybamm_cell(DESIGN.name)
    start = time.monotonic()
    record = simulated_record(real.name, seed, request(real.name, real.protocol), cell)
    return record, time.monotonic() - start


def simulated_set(chosen: Sequence[SeversonCell], seed: int, processes: int) -> tuple[list[LifeRecord], int, list[float]]:
    """One simulated cell for each real one; records, how many tests gave none, and seconds a test."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(one_cell, [(cell, seed) for cell in chosen]))
    records = [record for record, _ in done if record is not None]
    return records, len(done) - len(records), [seconds for _, seconds in done]


def charge_rate_and_heat(seed: int, rates_C: Sequence[float], ambients_degC: Sequence[float]) -> Iterator[dict[str, object]]:
    """Lives of one and the same cell by charge rate and ambient, cooled so well that it keeps the ambient's temperature."""
    from adapters.simulated.cell_model import PybammCell
    from adapters.simulated.cell_presets import LFP_A123

    cooling = {**LFP_A123.parameters.overrides, "Total heat transfer coefficient [W.m-2.K-1]": 1e4}
    cell = PybammCell(replace(LFP_A123.parameters, overrides=cooling))
    for rate in rates_C:
        protocol = multistep_charge(Candidate({"c1": rate, "discharge_rate_C": DISCHARGE_RATE_C}), DESIGN)
        lives: dict[str, object] = {"charge to 80 % at (C)": rate}
        for ambient in ambients_degC:
            record = simulated_record("one cell", seed, request("one cell", protocol, ambient), cell)
            lives[f"life at {ambient:g} degC"] = "-" if record is None else round(record.life)
        yield lives


def gain_after_pause_mAh(hours: float, at_cycle: int = 249) -> float:
    """Lithium that an average cell on an average protocol has back after a pause of its test."""
    average, law = CellIndividual(), ageing.LAW
    stress = Stress(law.impeding_reference_h, arrhenius_h=0.85, plating_V_s=2.5, rest_h=1 / 12)
    fresh = ageing.begin(average, law)
    worn = ageing.advance(average, fresh, ageing.pace(average, fresh, stress, law), at_cycle, law)
    return 1e3 * (ageing.rested(average, worn, hours, 303.15, law).lithium_Ah - worn.lithium_Ah)


def main() -> None:
    """Print the figures beside the real ones, set by set, then lives by charge rate and temperature."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100])
    parser.add_argument("--splits", nargs="+", default=["train", "test1"], choices=["train", "test1"])
    parser.add_argument("--held-out", action="store_true", help="leave out every cell whose protocol the law was tuned on")
    parser.add_argument("--every", type=int, default=1, help="take every n-th protocol only")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    tuned_on = {cell.policy for cell in tuning_cells()} if options.held_out else set()
    chosen = [cell for split in options.splits for cell in cells(split) if cell.policy not in tuned_on][:: options.every]
    reference = real_records(cells("train"))
    columns = {f"real {split}": figures(real_records(cells(split)), reference) for split in ("train", "test1")}
    for seed in options.seeds:
        records, failed, seconds = simulated_set(chosen, seed, options.processes)
        columns[f"seed {seed}"] = figures(records, reference)
        timing = f"{np.median(seconds):.1f} s a life test (most {max(seconds):.1f} s, the process's first build included)"
        print(f"seed {seed}: {len(records)} cells, {failed} without a life; {timing}", flush=True)
    simulated = [figure for name, figure in columns.items() if name.startswith("seed")]
    columns["mean"] = {name: float(np.mean([figure[name] for figure in simulated])) for name in simulated[0]}
    columns["sd"] = {name: float(np.std([figure[name] for figure in simulated])) for name in simulated[0]}
    rows: list[dict[str, object]] = [
        {"figure": name, **{column: figure[name] for column, figure in columns.items()}} for name in columns["mean"]
    ]
    show(rows, f"Synthetic cells on Severson's protocols ({', '.join(options.splits)}), beside the real ones")
    lives = list(charge_rate_and_heat(options.seeds[0], (3.0, 4.0, 5.0, 6.0), (0.0, 15.0, 30.0, 45.0)))
    show(lives, "What charge rate and temperature cost one simulated cell, held at the ambient's temperature")
    gains = ", ".join(f"{gain_after_pause_mAh(h):.1f} mAh in {h} h" for h in (1, 8, 24, 72))
    print(f"\nA pause at cycle 249 gives back {gains} (chosen: nothing real decides it)")
    print(f"kept in {keep(rows, 'simulated_cell')}")


if __name__ == "__main__":
    main()
