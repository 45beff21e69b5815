"""Recording -> one row per cycle: capacities, energies, charge time, temperature, resistance. Nothing is fitted.

A running test is summed up as it goes: finished cycles are kept as figures, the rows of the cycle that is being recorded as
rows. However its rows are split, the table is that of all rows at once, to the last bit.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.recording import CHECKUP_STEP_ID, REQUIRED, Columns, Recording
from orchestrator.features.blocks import UNUSABLE, Array, Integers, cycle_numbers, vector
from orchestrator.features.capacities import places, sums_by_place
from orchestrator.features.cycle_figures import (
    CHARGE_TIME_SOC,
    FIGURES,
    FIRST,
    HIGHEST,
    LARGEST_STEP,
    LAST,
    LOWEST,
    SUMMED,
    block_figures,
)
from orchestrator.features.discharge_ends import end_reasons
from orchestrator.features.refusals import require_columns, require_recording, runs_backwards

__all__ = ["CHARGE_TIME_SOC", "SUMMARY_SCHEMA", "CycleSummaries", "cycle_summary"]

SUMMARY_SCHEMA = {
    "cycle_count": pl.Int64,
    "test_time_h": pl.Float64,
    "duration_h": pl.Float64,
    "charge_capacity_Ah": pl.Float64,
    "discharge_capacity_Ah": pl.Float64,
    "charge_energy_Wh": pl.Float64,
    "discharge_energy_Wh": pl.Float64,
    "coulombic_efficiency": pl.Float64,
    "energy_efficiency": pl.Float64,
    "mean_charge_voltage_V": pl.Float64,
    "mean_discharge_voltage_V": pl.Float64,
    "charge_time_to_80_soc_min": pl.Float64,
    "temperature_max_degC": pl.Float64,
    "temperature_mean_degC": pl.Float64,
    "temperature_min_degC": pl.Float64,
    "temperature_integral_degC_h": pl.Float64,
    "resistance_ohm": pl.Float64,
    "pulse_resistance_ohm": pl.Float64,
    "end_reason": pl.String,
    "rows_left_out": pl.Int64,
}
_TEMPERATURE = "surface_temperature_celsius"
_LEAST_STEP_RATE_C = 0.1  # of the nominal current: a smaller step is none
# Without a nominal capacity: of the cycle's largest current, which itself must be more than noise beside the recording's.
_LEAST_STEP_SHARE, _LEAST_OF_ALL = 0.1, 0.01
_ROWS = {"time_s": REQUIRED[0], "voltage_V": REQUIRED[1], "current_A": REQUIRED[2], "temperature_degC": _TEMPERATURE}


def cycle_summary(recording: Recording) -> pl.DataFrame:
    """Per-cycle quantities of a recording; check-ups made after a cycle are no part of it.

    Everything is integrated from time, current and voltage; a cycler's own counters (`charging_capacity_ah` ...) are not used,
    since vendors restart them by step, by cycle or never. The time between two cycles belongs to neither.

    Args:
        recording: time series with `cycle_count` (without it the whole recording is one cycle); current positive when charging.

    Returns:
        One row per recorded cycle, in the order of their first rows, with the columns of `SUMMARY_SCHEMA`: capacities by
        trapezoid in Ah, energies in Wh, `charge_time_to_80_soc_min` (from the first charging sample until 80 % of the nominal
        capacity has been charged; null if it never was, or that capacity is not known), temperatures in degC and their integral
        over time in degC h (null without a thermocouple), `resistance_ohm` from the largest step of the current, where the
        discharge begins or ends (at least 0.1 C; without a nominal capacity a tenth of the cycle's largest |current|, in cycles
        whose largest |current| is at least 1 % of the recording's so far; null if there is none), `pulse_resistance_ohm` of the
        first constant current of at most two minutes between two rests, `end_reason` of the cycle's last discharge as far as
        rows tell (see `discharge_ends.end_reasons`; null otherwise), and `rows_left_out`: rows without a time, voltage or
        current, or flagged (`quality_flags`) as back in time, missing, or impossible in voltage or current. The pieces of a
        cycle that was left and taken up again are added. A cycle of which
        there are not two rows in sequence has no row in the table.

    Raises:
        SpecError: if it is no recording, has no time series, or its time runs backwards within a cycle where no flag says so.
    """
    require_recording(recording, "cycle_summary")
    if not len(recording):
        raise SpecError("the recording has no time series: there are no cycles to summarise.")
    summaries = CycleSummaries(recording.nominal_capacity_Ah)
    summaries.add(recording.columns)
    return summaries.table(complete=recording.complete)


class CycleSummaries:
    """The summaries of a test that goes on: rows are added as they come, split anywhere.

    Args:
        nominal_capacity_Ah: what charge times and thresholds refer to; without it thresholds come from the currents.

    Example:
        >>> summaries = CycleSummaries(nominal_capacity_Ah=1.1)
        >>> for columns in batches:
        ...     summaries.add(columns)
        >>> summaries.table()
    """

    def __init__(self, nominal_capacity_Ah: float | None = None) -> None:
        self._nominal_Ah = nominal_capacity_Ah
        self._finished: list[NDArray[np.void]] = []
        self._open: list[dict[str, Array]] = []
        self._left_out: dict[int, int] = {}

    def add(self, columns: Columns) -> None:
        """Take in more rows, in the order of the test.

        Args:
            columns: arrays of equal length, each (n,), in Battery Data Format names; they are copied where they are kept.

        Raises:
            SpecError: a column is missing, is no vector of numbers, or time runs backwards within a cycle where no flag says
                so. Nothing of these columns has been taken in then.
        """
        rows, left_out = _usable(columns)
        cycle = rows["cycle"]
        if len(cycle):
            self._refuse_backwards(rows, numbered="cycle_count" in columns)
            last = int(np.flatnonzero(np.append(True, cycle[1:] != cycle[:-1]))[-1])
            if self._open and (last > 0 or cycle[0] != self._open[-1]["cycle"][0]):
                before = _joined([*self._open, {name: values[:last] for name, values in rows.items()}])
                self._finished.append(block_figures(before, self._nominal_Ah))
                self._open = []
            elif last > 0:
                self._finished.append(block_figures({n: values[:last] for n, values in rows.items()}, self._nominal_Ah))
            self._open.append({name: values[last:].copy() for name, values in rows.items()})
        for number, count in zip(*np.unique(left_out, return_counts=True), strict=True):
            self._left_out[int(number)] = self._left_out.get(int(number), 0) + int(count)

    def table(self, complete: bool = False) -> pl.DataFrame:
        """The summary of all rows so far, as `cycle_summary` gives it.

        Args:
            complete: whether the test has run to its end; until then its last cycle may be `unfinished`.
        """
        still = [block_figures(self._collected(), self._nominal_Ah)] if self._open else []
        figures = np.concatenate([np.zeros(0, dtype=FIGURES), *self._finished, *still])
        self._finished = [figures[: len(figures) - sum(map(len, still))]]
        return _table(_merged(figures), self._nominal_Ah, self._left_out, complete)

    def _collected(self) -> dict[str, Array]:
        self._open = [_joined(self._open)]
        return self._open[0]

    def _refuse_backwards(self, rows: dict[str, Array], numbered: bool) -> None:
        time_s, cycle = rows["time_s"], rows["cycle"]
        if self._open:
            time_s, cycle = (np.append(self._open[-1][n][-1:], rows[n]) for n in ("time_s", "cycle"))
        wrong = np.flatnonzero((time_s[1:] < time_s[:-1]) & (cycle[1:] == cycle[:-1]))
        if len(wrong):
            raise runs_backwards(int(cycle[wrong[0]]) if numbered else None)


def _usable(columns: Columns) -> tuple[dict[str, Array], Integers]:
    """The rows of ageing cycles that can be integrated over, and the cycle of each that cannot."""
    require_columns(columns, "CycleSummaries")
    missing = [Fault(name, "is missing from the time series.") for name in REQUIRED if name not in columns]
    if missing:
        raise SpecError(missing)
    count = len(vector(REQUIRED[0], columns[REQUIRED[0]]))
    given = {name: vector(column, columns[column], count) for name, column in _ROWS.items() if column in columns}
    rows = {name: values.astype(np.float64, copy=False) for name, values in given.items()}
    rows.setdefault("temperature_degC", np.full(count, np.nan))
    numbers = cycle_numbers(vector("cycle_count", columns.get("cycle_count", np.ones(count, dtype=np.int64)), count))
    usable = np.isfinite(rows["time_s"]) & np.isfinite(rows["voltage_V"]) & np.isfinite(rows["current_A"])
    if "quality_flags" in columns:
        usable &= vector("quality_flags", columns["quality_flags"], count).astype(np.int64) & UNUSABLE == 0
    ageing = np.ones(count, dtype=np.bool_)
    if "step_id" in columns:
        ageing = ~(vector("step_id", columns["step_id"], count).astype(np.float64) > CHECKUP_STEP_ID)
    every: dict[str, Array] = {**rows, "cycle": numbers}  # type: ignore[dict-item]  # whole numbers are kept as such
    kept = usable & ageing
    return (every if kept.all() else {name: values[kept] for name, values in every.items()}), numbers[ageing & ~usable]


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _merged(figures: NDArray[np.void]) -> NDArray[np.void]:
    """One entry a cycle: the pieces of a cycle that was left and taken up again are put together."""
    place, first = places(figures["cycle"])
    if len(first) == len(figures):
        return figures
    merged = figures[first].copy()
    for name in SUMMED:
        merged[name] = sums_by_place(place, figures[name])
    for name, extreme in (*((n, np.maximum) for n in HIGHEST), *((n, np.minimum) for n in LOWEST)):
        extreme.at(merged[name], place, figures[name])
    for later in np.setdiff1d(np.arange(len(figures)), first):
        whole, piece = merged[place[later] : place[later] + 1], figures[later]
        _take(whole, piece, [name for name in FIRST if np.isnan(whole[name][0])])
        _take(whole, piece, [name for name in LAST if not np.isnan(piece[name])])
        _take(whole, piece, LARGEST_STEP if piece["step_A"] > whole["step_A"][0] else ())
    return merged


def _take(whole: NDArray[np.void], piece: np.void, names: list[str] | tuple[str, ...]) -> None:
    for name in names:
        whole[name] = piece[name]


def _table(figures: NDArray[np.void], nominal_Ah: float | None, left_out: dict[int, int], complete: bool) -> pl.DataFrame:
    into, out = figures["charge_Ah"], figures["discharge_Ah"]
    into_Wh, out_Wh = figures["charge_Wh"], figures["discharge_Wh"]
    measured = figures["temperatures"] > 0
    step = _is_step(figures, nominal_Ah) & (figures["step_ohm"] > 0)
    columns: dict[str, object] = {
        "cycle_count": figures["cycle"],
        "test_time_h": figures["end_s"] / 3600,
        "duration_h": figures["duration_s"] / 3600,
        "charge_capacity_Ah": into,
        "discharge_capacity_Ah": out,
        "charge_energy_Wh": into_Wh,
        "discharge_energy_Wh": out_Wh,
        "coulombic_efficiency": _ratio(out, into),
        "energy_efficiency": _ratio(out_Wh, into_Wh),
        "mean_charge_voltage_V": _ratio(into_Wh, into),
        "mean_discharge_voltage_V": _ratio(out_Wh, out),
        "charge_time_to_80_soc_min": figures["charge_time_min"],
        "temperature_max_degC": np.where(measured, figures["temperature_max"], np.nan),
        "temperature_mean_degC": _ratio(figures["temperature_sum"], figures["temperatures"]),
        "temperature_min_degC": np.where(measured, figures["temperature_min"], np.nan),
        "temperature_integral_degC_h": np.where(measured, figures["warmth_degC_h"], np.nan),
        "resistance_ohm": np.where(step, figures["step_ohm"], np.nan),
        "pulse_resistance_ohm": figures["pulse_ohm"],
        "end_reason": end_reasons(figures, complete),
        "rows_left_out": np.array([left_out.get(int(n), 0) for n in figures["cycle"]], dtype=np.int64),
    }
    return pl.DataFrame(columns, schema=SUMMARY_SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))


def _is_step(figures: NDArray[np.void], nominal_Ah: float | None) -> NDArray[np.bool_]:
    """Whether each cycle's largest change of current is more than noise, (k,)."""
    if nominal_Ah:
        return np.asarray(figures["step_A"] >= _LEAST_STEP_RATE_C * nominal_Ah)
    largest_A = figures["largest_A"]
    enough = largest_A >= _LEAST_OF_ALL * largest_A.max(initial=0.0)
    return np.asarray((figures["step_A"] >= _LEAST_STEP_SHARE * largest_A) & enough)


def _ratio(numerator: Array, denominator: Array) -> Array:
    ratio: Array = np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
    return ratio
