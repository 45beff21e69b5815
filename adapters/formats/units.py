"""Units of vendors, converted exactly: a decimal in mA becomes the float64 nearest to the same decimal in A.

A value read from text is the float64 nearest to a decimal m / 10^d. Where m and the conversion's whole numbers stay below 2^53,
one division of two exact integers gives the float64 nearest to the converted decimal (IEEE 754: division is correctly rounded).
Multiplying by 0.001 would be one unit in the last place off in a third of all cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_EXACT = 2.0**53
_UNIQUE = 1e15  # a float64 names one decimal of so many digits, and no other
_MAX_DECIMALS = 15

_PREFIXES = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "µ": Fraction(1, 10**6), "μ": Fraction(1, 10**6)}
_PREFIXES |= {"m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(1000), "M": Fraction(10**6)}
_WORDS = {
    "nano": Fraction(1, 10**9),
    "micro": Fraction(1, 10**6),
    "milli": Fraction(1, 1000),
    "": Fraction(1),
    "kilo": Fraction(1000),
}

# Symbols (case counts) and words (case does not) of each dimension's unit; prefixes are put before both.
_SYMBOLS: dict[str, tuple[str, ...]] = {
    "voltage": ("V",),
    "current": ("A",),
    "capacity": ("Ah", "A.h", "A·h", "A*h", "A-h", "A h", "Ahr"),
    "energy": ("Wh", "W.h", "W·h", "W*h", "W-h", "W h", "Whr"),
    "power": ("W",),
    "resistance": ("Ohm", "ohm", "Ω", "Ω", "Ohms", "ohms"),
    "frequency": ("Hz",),
    "pressure": ("Pa",),
}
_NAMES: dict[str, tuple[str, ...]] = {
    "voltage": ("volt", "volts"),
    "current": ("amp", "amps", "ampere", "amperes"),
    "capacity": ("amp-hr", "amp-hrs", "amphr", "ampere hour", "ampere-hour", "amp-hour", "ah"),
    "energy": ("watt-hr", "watt-hrs", "watthr", "watt hour", "watt-hour", "wh"),
    "power": ("watt", "watts"),
    "resistance": ("ohm", "ohms"),
    "frequency": ("hertz", "hz"),
    "pressure": ("pascal", "pa"),
}


@dataclass(frozen=True)
class Conversion:
    """value in the vocabulary's unit = (value in the file's unit + offset) * scale, both exact."""

    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    @property
    def negated(self) -> Conversion:
        """The same with the opposite sign."""
        return Conversion(-self.scale, self.offset)

    @property
    def is_identity(self) -> bool:
        """Whether nothing is to be done."""
        return self.scale == 1 and self.offset == 0


def _linear(symbols: tuple[str, ...], prefixes: dict[str, Fraction]) -> dict[str, Conversion]:
    return {prefix + symbol: Conversion(scale) for symbol in symbols for prefix, scale in prefixes.items()}


def _times() -> dict[str, Conversion]:
    spelled = {
        Fraction(1): ("s", "sec", "secs", "second", "seconds"),
        Fraction(1, 1000): ("ms", "msec", "millisecond", "milliseconds"),
        Fraction(1, 10**6): ("us", "µs", "μs", "microsecond", "microseconds"),
        Fraction(60): ("min", "mins", "minute", "minutes"),
        Fraction(3600): ("h", "hr", "hrs", "hour", "hours"),
        Fraction(86400): ("d", "day", "days"),
    }
    return {name: Conversion(scale) for scale, names in spelled.items() for name in names}


def _temperatures() -> dict[str, Conversion]:
    celsius = (
        "degC",
        "°C",
        "ºC",
        "℃",
        "C",
        "celsius",
        "degreecelsius",
        "degree celsius",
        "degrees celsius",
        "deg C",
        "deg. C",
        "oC",
    )
    kelvin = ("K", "kelvin", "degK")
    fahrenheit = ("degF", "°F", "ºF", "℉", "F", "fahrenheit", "deg F")
    return (
        {name: Conversion() for name in celsius}
        | {name: Conversion(offset=Fraction(-27315, 100)) for name in kelvin}
        | {name: Conversion(Fraction(5, 9), Fraction(-32)) for name in fahrenheit}
    )


_UNITS: dict[str, dict[str, Conversion]] = {kind: _linear(symbols, _PREFIXES) for kind, symbols in _SYMBOLS.items()}
_UNITS["time"] = _times()
_UNITS["temperature"] = _temperatures()
_UNITS["capacity"] |= {name: Conversion(Fraction(1, 3600)) for name in ("C", "As", "A.s", "coulomb")}
_UNITS["capacity"] |= {name: Conversion(Fraction(1, 3_600_000)) for name in ("mAs", "mA.s", "mC")}
_UNITS["energy"] |= {
    "J": Conversion(Fraction(1, 3600)),
    "kJ": Conversion(Fraction(1000, 3600)),
    "Ws": Conversion(Fraction(1, 3600)),
}
_UNITS["pressure"] |= {"bar": Conversion(Fraction(10**5)), "mbar": Conversion(Fraction(100)), "hPa": Conversion(Fraction(100))}
_UNITS["angle"] = {name: Conversion() for name in ("deg", "°", "degree", "degrees")}
_UNITS["count"] = {name: Conversion() for name in ("1", "#", "-", "", "count", "dimensionless")}

_NAMED: dict[str, dict[str, Conversion]] = {kind: _linear(names, _WORDS) for kind, names in _NAMES.items()}
_NAMED["capacity"] |= {"mah": Conversion(Fraction(1, 1000))}
_NAMED["energy"] |= {"mwh": Conversion(Fraction(1, 1000))}
_NAMED["time"] = _UNITS["time"]
_NAMED["temperature"] = {name.lower(): how for name, how in _UNITS["temperature"].items()}
_NAMED["angle"] = _UNITS["angle"]

_SHOUTED = {"mv": "mV", "ma": "mA", "mah": "mAh", "mwh": "mWh"}
_DIMENSION_OF_SUFFIX = {
    "second": "time",
    "volt": "voltage",
    "ampere": "current",
    "ah": "capacity",
    "wh": "energy",
    "watt": "power",
    "ohm": "resistance",
    "celsius": "temperature",
    "hertz": "frequency",
    "degree": "angle",
    "pa": "pressure",
}


def dimension(bdf: str) -> str:
    """What a column of the vocabulary measures, from the unit its name ends with: `voltage_volt` -> `voltage`."""
    return _DIMENSION_OF_SUFFIX.get(bdf.rsplit("_", 1)[-1], "count")


def conversion(unit: str, bdf: str) -> Conversion | None:
    """How a unit becomes the one of a column's name; None if it is not a unit of that kind."""
    kind = dimension(bdf)
    if is_shouted(unit, bdf):
        return None
    # Prefixes differ by case alone (mA, MA): only whole words are looked for in small letters.
    return _UNITS[kind].get(unit.strip()) or _NAMED.get(kind, {}).get(unit.strip().lower())


def is_shouted(unit: str, bdf: str) -> bool:
    """Whether a unit is `MA`, `MV`, `MAH` or the like: no cell has megavolts, and capitals hide what was meant."""
    return (
        dimension(bdf) in ("voltage", "current", "capacity", "energy")
        and unit.strip()[:1] == "M"
        and ("m" + unit.strip()[1:].lower() in _SHOUTED)
    )


def quieted(unit: str) -> str:
    """`MA` as `mA`, for a header all in capitals."""
    return _SHOUTED["m" + unit.strip()[1:].lower()]


def known_units(bdf: str) -> tuple[str, ...]:
    """The spellings accepted for a column, for messages."""
    return tuple(sorted(u for u in _UNITS[dimension(bdf)] if u and len(u) <= 4))[:24]


def convert(values: NDArray[np.float64], how: Conversion) -> NDArray[np.float64]:
    """Convert values, shape (n,): exactly for decimals of up to 15 digits, to one rounding otherwise; NaN stays NaN.

    The result of a value does not depend on the others.
    """
    if how.is_identity:
        return values
    if how.scale == -1 and how.offset == 0:
        return -values
    result = (values + float(how.offset)) * how.scale.numerator / how.scale.denominator
    left = np.flatnonzero(np.isfinite(values))
    for decimals in range(_least_decimals(how.offset), _MAX_DECIMALS + 1):
        if left.size == 0:
            break
        exact, sound = _as_decimals(values[left], decimals, how)
        result[left[sound]] = exact[sound]
        left = left[~sound]
    return result


def _as_decimals(values: NDArray[np.float64], decimals: int, how: Conversion) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values taken for decimals with so many digits after the point, converted; and which of them are such decimals."""
    power = 10.0**decimals
    with np.errstate(over="ignore"):
        whole = np.rint(values * power)
    numerator = (whole + float(how.offset * 10**decimals)) * how.scale.numerator
    sound = (whole / power == values) & (np.abs(whole) < _UNIQUE) & (np.abs(numerator) < _EXACT)
    return numerator / (power * how.scale.denominator), sound


def _least_decimals(offset: Fraction) -> int:
    return next(d for d in range(_MAX_DECIMALS) if (offset * 10**d).denominator == 1)


def widened(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Single-precision values, shape (n,), as the float64 nearest to the shortest decimal that names each of them.

    An instrument's 3.4127 V, stored in single precision, is 3.4126999378204346 when its bits are copied; what it measured has
    four decimals. Rounding the result to single precision gives the same bits back.
    """
    wide = values.astype(np.float64)
    result = wide.copy()
    left = np.isfinite(wide)
    for d in range(_MAX_DECIMALS + 1):
        if not left.any():
            break
        power = 10.0**d
        whole = np.rint(wide[left] * power)
        rounded = whole / power
        with np.errstate(over="ignore", invalid="ignore"):
            fits = (rounded.astype(np.float32) == values[left]) & (np.abs(whole) < _EXACT)
        where = np.flatnonzero(left)[fits]
        result[where] = rounded[fits]
        left[where] = False
    return result
