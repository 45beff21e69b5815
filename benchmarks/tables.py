"""How benchmarks print and keep their figures."""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values), spread


def wilson_upper(events: int, trials: int, z: float = 1.96) -> float:
    """Wilson's upper bound of a rate (Wilson 1927); z = 1.96 is the upper end of the two-sided 95 % interval."""
    rate, weight = events / trials, z * z / trials
    return (rate + weight / 2 + z * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))) / (1 + weight)


def show(rows: Sequence[Mapping[str, object]], title: str) -> None:
    """Print rows as a table with aligned columns."""
    texts = [[_text(row[name]) for name in rows[0]] for row in rows]
    widths = [max(len(line[i]) for line in [list(rows[0]), *texts]) for i in range(len(rows[0]))]
    sys.stdout.write(f"\n{title}\n")
    for line in [list(rows[0]), *texts]:
        sys.stdout.write("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + "\n")
    sys.stdout.flush()


def keep(rows: Sequence[Mapping[str, object]], name: str) -> Path:
    """Write rows as CSV into the results folder."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _text(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
