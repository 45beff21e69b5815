"""How metrics and numbers are written for people: labels, units, and digits that the uncertainty supports."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.domain import Estimate

UNIT_SIGNS = {"degC": "°C", "ohm": "Ω", "mohm": "mΩ", "pct": "%"}
_SUFFIXES = frozenset(
    {"min", "h", "s", "degC", "K", "V", "mV", "A", "mA", "Ah", "mAh", "Wh", "kWh", "W", "ohm", "mohm", "pct", "g"}
)
_LABELS = {"temperature_max_degC": "maximum temperature"}
PLUS_MINUS = "\u00b1"


def label(metric: str) -> str:
    """A metric's name without its unit, as words: `charge_time_min` is "charge time"."""
    stem, _, suffix = metric.rpartition("_")
    return _LABELS.get(metric) or (stem if stem and suffix in _SUFFIXES else metric).replace("_", " ")


def unit(metric: str, estimates: Iterable[Estimate | None] = ()) -> str:
    """A metric's unit: what an estimate states, else what its name ends in, else nothing."""
    suffix = metric.rpartition("_")[2]
    stated = next((e.unit for e in estimates if e is not None and e.unit), suffix if suffix in _SUFFIXES else "")
    return UNIT_SIGNS.get(stated, stated)


def number(given: float) -> str:
    """A number in four significant digits, without exponent where it reads well."""
    if given != 0 and not 1e-3 <= abs(given) < 1e5:
        return f"{given:.3g}"
    digits = 4 if given == 0 else max(0, 3 - math.floor(math.log10(abs(given))))
    fixed = f"{given:.{digits}f}"
    return fixed.rstrip("0").rstrip(".") if "." in fixed else fixed


def with_error(mean: float, sem: float) -> str:
    """`mean ± sem` in the digits that the error supports; the mean alone where there is no error."""
    if sem <= 0:
        return number(mean)
    power = math.floor(math.log10(sem))
    decimals = (1 if sem / 10**power < 2 else 0) - power
    if not -5 <= decimals <= 6:
        return f"{mean:.4g} {PLUS_MINUS} {sem:.2g}"
    shown = max(decimals, 0)
    return f"{round(mean, decimals):.{shown}f} {PLUS_MINUS} {round(sem, decimals):.{shown}f}"


def quantity(metric: str, estimate: Estimate, stated: str | None = None) -> str:
    """An estimate with error and unit, such as "640 ± 60 cycles"; `stated` is the unit where the estimate has none."""
    sign = unit(metric, [estimate]) or stated or ""
    return f"{with_error(estimate.mean, estimate.sem)} {sign}".rstrip()


def outward(bound: float, upper: bool, digits: int = 3) -> float:
    """A bound rounded to a few digits so that it never becomes stricter."""
    if bound == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(bound))) - digits + 1)
    steps = math.ceil(bound / step - 1e-9) if upper else math.floor(bound / step + 1e-9)
    return float(f"{steps * step:.{digits + 2}g}")


def listing(parts: Iterable[str]) -> str:
    """Parts as "a, b and c"."""
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def status_words(status: str) -> str:
    """A status as words."""
    return {"early_stopped": "stopped early"}.get(status, status.replace("_", " "))
