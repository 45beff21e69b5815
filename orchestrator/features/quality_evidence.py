"""What a whole recording says of its units and of the current's sign: sums that do not depend on how the rows were split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.recording import Columns
from orchestrator.features.quality_rows import (
    CURRENT,
    FREQUENCY,
    VOLTAGE,
    Array,
    Bools,
    borders,
    intervals,
    number,
    temperatures,
    unrecorded,
)
from orchestrator.features.quality_swings import Swings

_SCOPES = ("", "cycle_", "step_")
# Ratios of integrated current to the cycler's own counters that mean a factor of a thousand.
THOUSAND = (300.0, 3000.0)
LEAST_PAIRS = 10
# Readings in millivolt, and temperatures in kelvin, where volt and degC are named.
MILLIVOLTS = (100.0, 1e5)
KELVINS = (220.0, 400.0)
HIGH_RATE_C = 50.0
# A step of the current is this share of the largest so far; the voltage must move by more than noise.
LEAST_STEP = 0.05
LEAST_STEP_V = 2e-4


@dataclass
class Counters:
    """Which of a recording's counters of capacity are compared with the current.

    Attributes:
        rising: counters that only rise, with the sign of the current that lets them; sign 0 where both do.
        net: a counter that follows the sign, if there is one.
        restarts: whether they start anew at steps or cycles.
    """

    rising: tuple[tuple[str, int], ...] = ()
    net: str | None = None
    restarts: bool = False

    @classmethod
    def of(cls, names: list[str]) -> Counters:
        """The best counters among columns: charge and discharge apart, else their difference, else their sum."""
        for scope in _SCOPES:
            pair = (f"{scope}charging_capacity_ah", f"{scope}discharging_capacity_ah")
            if all(name in names for name in pair):
                return cls(((pair[0], 1), (pair[1], -1)), restarts=bool(scope))
        for scope in _SCOPES:
            if f"{scope}net_capacity_ah" in names:
                return cls(net=f"{scope}net_capacity_ah", restarts=bool(scope))
        for name in (*(f"{scope}cumulative_capacity_ah" for scope in _SCOPES), "step_capacity_ah"):
            if name in names:
                return cls(((name, 0),), restarts=name.startswith(("step", "cycle")))
        return cls()

    @property
    def there(self) -> bool:
        """Whether there are any."""
        return bool(self.rising or self.net)

    @property
    def signed(self) -> bool:
        """Whether they tell charge from discharge."""
        return self.net is not None or any(sign for _, sign in self.rising)

    def moves(self, columns: Columns, border: Bools) -> tuple[Array, Array, Bools]:
        """Charged and discharged Ah since the row before, and which rows' counters went on rather than anew; each shape (n,)."""
        length = len(border)
        charged, discharged, on = np.zeros(length), np.zeros(length), np.ones(length, dtype=bool)
        if self.net is not None:
            counted = number(columns, self.net)
            since = np.concatenate([[0.0], np.diff(counted)])
            if self.restarts:
                since = np.where(border, counted, since)
                on &= ~border
            charged, discharged = np.maximum(since, 0.0), np.maximum(-since, 0.0)
        for name, sign in self.rising:
            counted = number(columns, name)
            since = np.concatenate([[0.0], np.diff(counted)])
            anew = since < 0
            on &= ~anew
            since = np.where(anew, np.maximum(counted, 0.0), since)
            charged, discharged = (charged + since, discharged) if sign >= 0 else (charged, discharged + since)
        fine = np.isfinite(charged) & np.isfinite(discharged)
        return np.where(fine, charged, 0.0), np.where(fine, discharged, 0.0), on & fine


@dataclass
class Evidence:
    """Sums over a recording.

    Args:
        nominal_capacity_Ah: of the cell; None where it is not known.
    """

    nominal_capacity_Ah: float | None = None
    sums: dict[str, float] = field(default_factory=dict)
    counters: Counters | None = None
    largest_A: float = 0.0
    swings: Swings = field(default_factory=Swings)

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, 0.0)

    def add(self, columns: dict[str, NDArray[np.generic]], rows: slice, gap: Bools) -> None:
        """Take in some rows; arguments as for `Halves.add`."""
        if self.counters is None:
            self.counters = Counters.of(list(columns))
        current, since, border = number(columns, CURRENT), intervals(columns), borders(columns)
        before = np.concatenate([current[:1], current[:-1]])
        moved = (current + before) / 2 * since / 3600
        spectrum = number(columns, FREQUENCY) > 0
        sound = (since > 0) & np.isfinite(moved) & ~gap & ~spectrum & ~unrecorded(columns)
        self._charge(moved, sound, rows)
        self._compare(columns, border, moved, sound & ~border, rows)
        self._voltage(columns, current, before, sound, rows)
        self.swings.add(columns, rows, sound)
        self._units(columns, current, rows)

    def _charge(self, moved: Array, sound: Bools, rows: slice) -> None:
        passed = np.where(sound, moved, 0.0)
        self._sum("charged_Ah", np.maximum(passed, 0.0)[rows])
        self._sum("discharged_Ah", np.maximum(-passed, 0.0)[rows])

    def _compare(self, columns: dict[str, NDArray[np.generic]], border: Bools, moved: Array, sound: Bools, rows: slice) -> None:
        counters = self.counters
        if counters is None or not counters.there:
            return
        charged, discharged, on = counters.moves(columns, border)
        self._sum("vendor_charged_Ah", charged[rows])
        self._sum("vendor_discharged_Ah", discharged[rows])
        compared = sound & on
        counted = charged + discharged
        self._sum("integrated_Ah", np.where(compared, np.abs(moved), 0.0)[rows])
        self._sum("counted_Ah", np.where(compared, counted, 0.0)[rows])
        self._sum("compared_rows", (compared & (counted > 0))[rows])
        if counters.signed:
            net = np.where(compared, charged - discharged, 0.0)
            along = np.sign(net) * np.sign(np.where(compared, moved, 0.0))
            self._sum("counted_along_Ah", np.where(along > 0, np.abs(net), 0.0)[rows])
            self._sum("counted_against_Ah", np.where(along < 0, np.abs(net), 0.0)[rows])

    def _voltage(self, columns: dict[str, NDArray[np.generic]], current: Array, before: Array, sound: Bools, rows: slice) -> None:
        voltage = number(columns, VOLTAGE)
        rise = np.concatenate([[0.0], np.diff(voltage)])
        rise = np.where(sound & np.isfinite(rise), rise, 0.0)
        change = np.where(sound, current - before, 0.0)
        size = np.where(np.isfinite(current), np.abs(current), 0.0)
        largest = np.maximum.accumulate(np.concatenate([[self.largest_A], size[rows]]))[1:]
        if len(largest):
            self.largest_A = float(largest[-1])
        step = np.zeros(len(change), dtype=bool)
        step[rows] = (np.abs(change[rows]) > LEAST_STEP * largest) & (np.abs(rise[rows]) > LEAST_STEP_V)
        along = np.sign(change) * np.sign(rise)
        self._sum("steps_along", (step & (along > 0))[rows])
        self._sum("steps_against", (step & (along < 0))[rows])
        steady = sound & ~step & (current * before > 0) & (np.abs(change) <= 0.05 * np.abs(current))
        drift = np.sign(current) * rise
        self._sum("drift_along_V", np.where(steady, np.maximum(drift, 0.0), 0.0)[rows])
        self._sum("drift_against_V", np.where(steady, np.maximum(-drift, 0.0), 0.0)[rows])

    def _units(self, columns: dict[str, NDArray[np.generic]], current: Array, rows: slice) -> None:
        voltage = np.abs(number(columns, VOLTAGE)[rows])
        self._sum("voltages", np.isfinite(voltage))
        self._sum("millivolts", (voltage > MILLIVOLTS[0]) & (voltage < MILLIVOLTS[1]))
        flowing = np.abs(current[rows])
        self._sum("flowing_rows", flowing > 0)
        self._sum("negative_rows", current[rows] < 0)
        if self.nominal_capacity_Ah:
            self._sum("high_rate_rows", flowing > HIGH_RATE_C * self.nominal_capacity_Ah)
        for name in temperatures(columns):
            read = number(columns, name)[rows]
            self._sum(f"read {name}", np.isfinite(read))
            self._sum(f"kelvin {name}", (read > KELVINS[0]) & (read < KELVINS[1]))
            self._sum(f"zero {name}", read == 0)

    def _sum(self, name: str, values: NDArray[np.generic]) -> None:
        """Add values one after the other, so that the sum is the same however they were split."""
        before = self.sums.get(name, 0.0)
        self.sums[name] = float(np.cumsum(np.concatenate([[before], values.astype(np.float64)]))[-1])
