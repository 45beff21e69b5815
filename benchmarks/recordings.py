"""Recordings: how fast rows become Parquet, how small and how exact, and how fast files become capacities and features.

    python benchmarks/recordings.py [--rows 5000000] [--cells 124] [--repeats 5] [--quick] [--json]

* **Ingestion**: rows of the simulated cell as its channel records them, in batches, through `RecordingArchive.write_batches`,
  against pyarrow's `write_table` of the same table into the same folder, in turn: zstd and otherwise its defaults, and zstd with
  byte-stream-split floats instead of dictionaries, which is quicker and larger. Ours ends with fsync. Every column is read back
  and compared bit by bit. `resolved` is ours with resolutions declared for time (1 ms) and capacities (1 uAh), the rest exact.
* **Features**: cells x 100 cycles x 1 000 points, a file per cell: capacities of every cycle, and the statistics of
  Q100(V) - Q10(V) at 1 000 voltages. `decoding` is the archive's own reading of the four columns needed, the file's sha256
  checked; `features` is what is computed from them. pandas reads the bare files and groups by cycle; it must find the same.
* **Growth**: the exponent with which decoding and features grow from 1 to 100 cells, with its standard error.

Wall times of one process, medians over repeats with least and most; ratios are medians of the ratios of neighbours. The load of
the machine is printed, since others' work is measured too; of the features the CPU's time is, besides. Files have been read
before: nothing here measures the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.recording_rows import Samples, ageing_cell, checkups, recorded
from benchmarks.tables import keep, show
from orchestrator.domain.errors import SpecError
from orchestrator.domain.recording import Columns
from orchestrator.features import cycle_capacities, delta_q_of, delta_q_statistics
from orchestrator.store import RecordingArchive, RecordingFile
from orchestrator.store.datasets import open_dataset

Row = dict[str, Any]
BATCH = 262_144
CYCLES, POINTS = 100, 1000
EARLY, LATE = 10, 100
VOLTS = np.linspace(2.05, 3.4, 1000)
NEEDED = ("test_time_second", "voltage_volt", "current_ampere", "cycle_count")
RESOLUTION = {"test_time_second": 1e-3, "charging_capacity_ah": 1e-6, "discharging_capacity_ah": 1e-6}
NOMINAL_AH = 1.1


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def figure(what: str, values: Sequence[float], unit: str, wanted: str = "", *, met: bool | None = None) -> Row:
    """A line of the table: median, least and most over repeats, and what is wanted."""
    said = "" if met is None else "yes" if met else "NO"
    return {"what": what, "median": statistics.median(values), "least": min(values), "most": max(values), "unit": unit,
            "wanted": wanted, "met": said}  # fmt: skip


def batches(columns: Columns) -> Iterator[Columns]:
    """Columns as a reader hands them over."""
    rows = len(columns["test_time_second"])
    for at in range(0, rows, BATCH):
        yield {name: column[at : at + BATCH] for name, column in columns.items()}


def same_bits(columns: Columns, found: Columns) -> bool:
    """Whether every column came back with its name, type and every bit."""
    return list(columns) == list(found) and all(
        columns[name].dtype == found[name].dtype and columns[name].tobytes() == found[name].tobytes() for name in columns
    )


def ingestion(columns: Columns, repeats: int, folder: Path) -> list[Row]:
    """Our writer and pyarrow's in turn, sizes, and whether all comes back."""
    rows = len(columns["test_time_second"])
    bare = folder / "bare.parquet"
    archive = RecordingArchive(folder / "ours")
    floats = [name for name, column in columns.items() if column.dtype.kind == "f"]
    written: dict[str, RecordingFile] = {}

    def ours(what: str, resolution: dict[str, float] | None) -> float:
        def write() -> None:
            written[what] = archive.write_batches(what, batches(columns), {}, resolution)

        for file in written.values():
            archive.path(file).unlink(missing_ok=True)
        return seconds(write)

    def plain() -> float:
        return seconds(lambda: pq.write_table(pa.table(dict(columns)), bare, compression="zstd"))

    def split() -> float:
        options = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": floats}
        return seconds(lambda: pq.write_table(pa.table(dict(columns)), folder / "split.parquet", **options))

    plain(), ours("exact", None)
    triples = [(plain(), ours("exact", None), split()) for _ in range(repeats)]
    pairs = [(theirs, mine) for theirs, mine, _ in triples]
    exact = same_bits(columns, archive.read(written["exact"]))
    size = archive.path(written["exact"]).stat().st_size / rows
    ratios = [theirs / mine for theirs, mine in pairs]
    resolved_s = ours("resolved", RESOLUTION)
    resolved = archive.path(written["resolved"]).stat().st_size / rows
    return [
        figure("ingestion, bare pyarrow", [rows / theirs / 1e6 for theirs, _ in pairs], "M rows/s"),
        figure("ingestion, ours", [rows / mine / 1e6 for _, mine in pairs], "M rows/s"),
        figure("ingestion, ours / bare", ratios, "", ">= 0.5", met=statistics.median(ratios) >= 0.5),
        figure("ingestion, ours / bare byte-stream-split", [other / mine for _, mine, other in triples], ""),
        figure("simulated rows, bare", [bare.stat().st_size / rows], "bytes/row"),
        figure("simulated rows, bare byte-stream-split", [(folder / "split.parquet").stat().st_size / rows], "bytes/row"),
        figure("simulated rows, ours", [size], "bytes/row", "<= 8", met=size <= 8),
        figure("simulated rows, every bit back", [float(exact)], "", "1", met=exact),
        figure("simulated rows, resolved", [resolved], "bytes/row"),
        figure("ingestion, resolved", [rows / resolved_s / 1e6], "M rows/s"),
    ]


def titration(folder: Path) -> list[Row]:
    """The A123 titration's bytes per row; nothing where its file is not to be had."""
    try:
        columns = open_dataset("a123_gitt").recordings["a123"].columns
    except SpecError as error:
        print(f"a123_gitt left out: {error}")
        return []
    archive = RecordingArchive(folder / "titration")
    file = archive.write("a123", columns, {})
    rows = len(columns["test_time_second"])
    pq.write_table(pa.table(dict(columns)), folder / "titration.parquet", compression="zstd")
    size = archive.path(file).stat().st_size / rows
    exact = same_bits(columns, archive.read(file))
    return [
        figure("a123_gitt, bare", [(folder / "titration.parquet").stat().st_size / rows], "bytes/row"),
        figure("a123_gitt, ours", [size], "bytes/row", "<= 8", met=size <= 8),
        figure("a123_gitt, every bit back", [float(exact)], "", "1", met=exact),
    ]


class Done(NamedTuple):
    """Cells decoded and computed: seconds, of CPU too; discharge capacities (cells, cycles), variances (cells,)."""

    decoding_s: float
    features_s: float
    features_cpu_s: float
    capacities_Ah: np.ndarray
    variances: np.ndarray

    @property
    def all_s(self) -> float:
        """Decoding and features."""
        return self.decoding_s + self.features_s


class Cells:
    """Recordings of many cells, each in a file of ours and in a bare one."""

    def __init__(self, cells: int, points: int, pool: tuple[Samples, ...], folder: Path) -> None:
        self._archive = RecordingArchive(folder / "cells")
        self._files: list[RecordingFile] = []
        self._bare = [folder / f"cell{cell}.parquet" for cell in range(cells)]
        for cell, path in enumerate(self._bare):
            columns = ageing_cell(cell, CYCLES, points, pool)
            self._files.append(self._archive.write(f"cell{cell}", columns, {}))
            pq.write_table(pa.table(dict(columns)), path, compression="zstd")
        self.rows = cells * CYCLES * points

    def __len__(self) -> int:
        return len(self._files)

    def ours(self, cells: int) -> Done:
        """Decode some cells, one after another, and compute their features."""
        decoding = computing = cpu = 0.0
        capacities, changes = [], []
        for file in self._files[:cells]:
            begun = time.perf_counter()
            columns = self._archive.read(file, NEEDED)
            read, busy = time.perf_counter(), time.process_time()
            found = cycle_capacities(columns["test_time_second"], columns["current_ampere"], columns["cycle_count"])
            capacities.append(found.discharge_Ah)
            changes.append(delta_q_of(columns, EARLY, LATE, VOLTS, NOMINAL_AH))
            decoding += read - begun
            computing += time.perf_counter() - read
            cpu += time.process_time() - busy
        begun, busy = time.perf_counter(), time.process_time()
        variances = delta_q_statistics(VOLTS, np.array(changes))["variance"]
        computing, cpu = computing + time.perf_counter() - begun, cpu + time.process_time() - busy
        return Done(decoding, computing, cpu, np.array(capacities), variances)

    def bytes_alone(self) -> float:
        """Seconds to read our files into memory, whole."""
        return seconds(lambda: [self._archive.path(file).read_bytes() for file in self._files])

    def pandas(self) -> Done:
        """The same by pandas, from the bare files."""
        decoding = computing = cpu = 0.0
        capacities, variances = [], []
        for path in self._bare:
            begun = time.perf_counter()
            frame = pd.read_parquet(path, columns=list(NEEDED))
            read, busy = time.perf_counter(), time.process_time()
            groups = frame.groupby("cycle_count")
            capacities.append(groups.apply(_discharged_Ah).to_numpy())
            early, late = (_curve(groups.get_group(cycle)) for cycle in (EARLY, LATE))
            variances.append(np.var(late - early))
            decoding += read - begun
            computing += time.perf_counter() - read
            cpu += time.process_time() - busy
        return Done(decoding, computing, cpu, np.array(capacities), np.array(variances))


def _discharged_Ah(cycle: pd.DataFrame) -> float:
    return float(np.trapezoid(np.maximum(-cycle["current_ampere"], 0.0), cycle["test_time_second"]) / 3600)


def _curve(cycle: pd.DataFrame) -> np.ndarray:
    """Q(V) of the discharge that ends the cycle."""
    out = cycle[cycle["current_ampere"] < -1e-3 * NOMINAL_AH]
    time_s, amps = out["test_time_second"].to_numpy(), -out["current_ampere"].to_numpy()
    passed = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * (amps[1:] + amps[:-1]) / 2)]) / 3600
    falling = np.minimum.accumulate(out["voltage_volt"].to_numpy())
    last = np.append(np.flatnonzero(np.diff(falling) < 0), len(falling) - 1)
    return np.interp(-VOLTS, -falling[last], passed[last], left=0.0)


def features(cells: Cells, repeats: int) -> list[Row]:
    """Decoding, features, and their ratios to pandas and to reading the bytes."""
    cells.ours(len(cells))
    runs, alone, theirs = [], [], []
    for _ in range(repeats):
        runs.append(cells.ours(len(cells)))
        alone.append(cells.bytes_alone())
        theirs.append(cells.pandas())
    computing, whole = [run.features_s for run in runs], [run.all_s for run in runs]
    equal = np.allclose(runs[0].capacities_Ah, theirs[0].capacities_Ah, rtol=1e-9)
    cpu = [run.features_cpu_s for run in runs]
    equal = bool(equal and np.allclose(runs[0].variances, theirs[0].variances, rtol=1e-6))
    size = f"{cells.rows / 1e6:g} M rows"
    return [
        figure(f"features of {len(cells)} cells, {size}", computing, "s", "< 0.3", met=statistics.median(computing) < 0.3),
        figure("features, CPU", cpu, "s", "< 0.3", met=statistics.median(cpu) < 0.3),
        figure("decoding", [run.decoding_s for run in runs], "s"),
        figure("decoding + features", whole, "s", "< 3", met=statistics.median(whole) < 3),
        figure("reading the bytes alone", alone, "s"),
        figure("pandas, features by groupby", [run.features_s for run in theirs], "s"),
        figure("pandas, decoding", [run.decoding_s for run in theirs], "s"),
        figure("ours, features / bytes alone", [c / a for c, a in zip(computing, alone, strict=True)], ""),
        figure("ours, all / bytes alone", [w / a for w, a in zip(whole, alone, strict=True)], ""),
        figure("pandas / ours, features", [p.features_s / c for p, c in zip(theirs, computing, strict=True)], ""),
        figure("pandas / ours, all", [p.all_s / w for p, w in zip(theirs, whole, strict=True)], ""),
        figure("same results as pandas", [float(equal)], "", "1", met=equal),
    ]


def growth(cells: Cells, repeats: int) -> list[Row]:
    """The exponent of cells with which decoding + features grow."""
    sizes = [n for n in (1, 3, 10, 30, 100) if n <= len(cells)]
    points = [(n, cells.ours(n).all_s) for _ in range(repeats) for n in sizes]
    slope, error = exponent(points)
    figures = [figure(f"decoding + features, {n} cells", [s for m, s in points if m == n], "s") for n in sizes]
    wanted = figure("growth, exponent of cells", [slope], "", "1 (linear)", met=slope < 1.1)
    return [*figures, {**wanted, "least": slope - 2 * error, "most": slope + 2 * error}]


def exponent(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Slope of log time over log size by least squares, and its standard error."""
    x, y = np.log([n for n, _ in points]), np.log([s for _, s in points])
    if len(set(x)) < 2:
        return float("nan"), float("nan")
    slope, level = np.polyfit(x, y, 1)
    left = y - slope * x - level
    return float(slope), float(np.sqrt((left**2).sum() / max(len(x) - 2, 1) / ((x - x.mean()) ** 2).sum()))


def measured(given: argparse.Namespace, folder: Path) -> list[Row]:
    """Every line of the table."""
    pool = checkups(given.checkups)
    columns = recorded(given.rows, given.seed, pool)
    print(f"{len(columns['test_time_second']):,} rows of {len(pool)} simulated check-ups, seed {given.seed}", flush=True)
    lines = [*ingestion(columns, given.repeats, folder), *titration(folder)]
    del columns
    cells = Cells(given.cells, given.points, pool, folder)
    return [*lines, *features(cells, given.repeats), *growth(cells, given.repeats)]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description="Recordings: speed, size, exactness, features.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="simulated rows to ingest")
    parser.add_argument("--cells", type=int, default=124, help="cells for the features")
    parser.add_argument("--points", type=int, default=POINTS, help="rows of each of a cell's 100 cycles")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkups", type=int, default=12, help="simulated check-ups per protocol to draw from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="500 000 rows, 12 cells, 2 repeats")
    parser.add_argument("--json", action="store_true", help="the last line is all figures as JSON")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.cells, given.repeats = 500_000, 12, 2
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, keep."""
    given = options(arguments)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="recordings-") as folder:
        lines = measured(given, Path(folder))
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    show(lines, f"Recordings: median, least and most of {given.repeats} repeats; {load}; Python {platform.python_version()}, "
                f"pyarrow {pa.__version__}, pandas {pd.__version__}")  # fmt: skip
    keep(lines, "recordings")
    if given.json:
        print(json.dumps({"rows": given.rows, "cells": given.cells, "repeats": given.repeats, "load": before, "figures": lines}))


if __name__ == "__main__":
    main()
