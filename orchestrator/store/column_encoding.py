"""A recording's columns as Parquet keeps them: floats that are decimal fractions become exact decimals, others stay floats.

A float64 v is the decimal i / 10^k if dividing the integer i by 10^k, both exact in float64 (|i| < 2^51, k <= 18), gives v bit by
bit. Cyclers write decimal fractions, so k is small, and what is stored is the integer: any Parquet tool shows the decimal itself.
NaN is null. What no decimal is (signed zeros, infinities, NaN with a payload) stands in a second column, `<name>__exact`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DECIMALS = 18
EXACT = "__exact"
# Beyond the first the products i = v 10^k are not sure to round to the right integer; beyond the second they are not tried.
_SURE, _LARGEST = 2.0**50, 2.0**51
_SMALL = 10**9  # what nine decimal digits hold, in four bytes
_TRIED_FIRST = 512
_NAN = np.array(np.nan).view(np.int64)


@dataclass(frozen=True)
class Coding:
    """How a column is stored.

    Attributes:
        dtype: numpy's name of what reading gives back.
        decimals: digits after the point of a stored decimal; None stores the values as they are.
        wide: whether its integers need eight bytes.
        exact: whether a column `<name>__exact` holds what no decimal is.
        resolution: the step to which values were rounded on request; None: every bit is kept.
    """

    dtype: str
    decimals: int | None = None
    wide: bool = False
    exact: bool = False
    resolution: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the file's metadata tell it."""
        said = {"decimals": self.decimals, "exact": self.exact or None, "resolution": self.resolution}
        return {"dtype": self.dtype, **{name: given for name, given in said.items() if given is not None}}


class Survey:
    """What one column holds, learned piece by piece; the pieces' sizes and order change nothing.

    Args:
        name: the column's, for messages.
        dtype: of its values.
        resolution: round to multiples of this step; the only way in which a recording loses anything.

    Raises:
        StoreError: if such values cannot be stored, or a resolution is given that is no positive decimal fraction, or for values
            that are no floats: those keep every bit.
    """

    def __init__(self, name: str, dtype: np.dtype[Any], resolution: float | None = None) -> None:
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise StoreError(f"the column '{name}' cannot be stored: it holds {dtype}, not numbers of up to 64 bits.")
        if resolution is not None and dtype.kind != "f":
            raise StoreError(f"the column '{name}' holds {dtype}, which is not rounded. Give a resolution for floats alone.")
        self._dtype, self._resolution = dtype, resolution
        self._step = None if resolution is None else _step(name, resolution)
        self._decimals: int | None = (self._step[1] if self._step else 0) if self._is_decimal() else None
        self._largest, self._exact = 0.0, False

    def _is_decimal(self) -> bool:
        return self._dtype.kind == "f" and self._dtype.itemsize >= 4

    def take(self, values: NDArray[Any]) -> None:
        """Look at some more values, shape (n,)."""
        if self._decimals is None or not len(values):
            return
        given = self.rounded(values).astype(np.float64, copy=False)
        magnitude = np.abs(given)
        largest = float(np.max(magnitude, initial=0.0, where=magnitude < np.inf))
        self._largest = max(self._largest, largest)
        plain = given[_misfits(given, values.dtype, self._decimals)] if self._fits_magnitude(self._decimals) else given
        odd = ~np.isfinite(plain) | ((plain == 0) & np.signbit(plain))
        self._exact |= bool(np.any(plain[odd].view(np.int64) != _NAN))
        self._raise(plain[~odd], values.dtype)

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as they are to be stored: on multiples of the resolution, if there is one."""
        if self._step is None:
            return values
        multiple, decimals = self._step
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.rint(values.astype(np.float64) * 10.0**decimals / multiple) * multiple
            rounded = whole / 10.0**decimals + 0.0  # no negative zeros
        return np.asarray(np.where(np.isfinite(rounded), rounded, values), dtype=values.dtype)

    def coding(self) -> Coding:
        """What was learned."""
        name = self._dtype.name
        if self._decimals is None or not self._fits_magnitude(self._decimals):
            return Coding(name, resolution=self._resolution)
        reach = self._largest * 10.0**self._decimals
        wide = self._decimals > 9 or reach >= _SMALL - 1
        if wide and self._dtype.itemsize < 8:
            return Coding(name, resolution=self._resolution)  # four bytes as a float are less than eight
        doubtful = reach > _SURE or self._dtype.itemsize < 8  # one decimal more might fit less well
        return Coding(name, self._decimals, wide, self._exact or doubtful, self._resolution)

    def _fits_magnitude(self, decimals: int) -> bool:
        return self._largest * 10.0**decimals < _LARGEST

    def _raise(self, left: NDArray[np.float64], dtype: np.dtype[Any]) -> None:
        """As many decimals as the values left need, those that have given trouble alone; a few of them first."""
        for part in (left[:: max(1, len(left) // _TRIED_FIRST)], left):
            rest = part
            while self._decimals is not None and len(rest):
                rest = rest[_misfits(rest, dtype, self._decimals)] if self._fits_magnitude(self._decimals) else rest
                if len(rest):
                    further = self._decimals + 1
                    self._decimals = further if further <= MOST_DECIMALS and self._fits_magnitude(further) else None


def _step(name: str, resolution: float) -> tuple[int, int]:
    """A step as a whole multiple of a power of ten: 0.0005 is 5 and 4."""
    given = Decimal(repr(float(resolution)))
    if not given.is_finite() or given <= 0:
        raise StoreError(f"the resolution of '{name}' must be a positive number (got {resolution}).")
    _, digits, exponent = given.normalize().as_tuple()
    multiple = int("".join(map(str, digits))) * 10 ** max(0, int(exponent))
    decimals = max(0, -int(exponent))
    if multiple > 10**6 or decimals > MOST_DECIMALS:
        raise StoreError(f"the resolution of '{name}' must be a decimal of few digits such as 0.0005 (got {resolution}).")
    return multiple, decimals


def _integers(given: NDArray[np.float64], decimals: int) -> NDArray[np.int64]:
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.multiply(given, 10.0**decimals)
        return np.rint(product, out=product).astype(np.int64)


def _divided(integers: NDArray[Any], decimals: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    divided: NDArray[Any] = np.divide(integers, 10.0**decimals, dtype=np.float64).astype(dtype, copy=False)
    return divided


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    bits: NDArray[Any] = np.ascontiguousarray(values).view(np.dtype(f"i{values.dtype.itemsize}"))
    return bits


def _misfits(given: NDArray[np.float64], dtype: np.dtype[Any], decimals: int) -> NDArray[np.bool_]:
    """Which values do not come back bit by bit from integers."""
    back = _divided(_integers(given, decimals), decimals, dtype)
    return np.asarray(_bits(back) != _bits(given.astype(dtype, copy=False)))


def to_arrow(name: str, values: NDArray[Any], coding: Coding) -> dict[str, pa.Array]:
    """A column, rounded where it was to be, as the one or two columns that store it; every value comes back as it is."""
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    if coding.decimals is None:
        return {name: pa.array(values)}
    given = values.astype(np.float64, copy=False)
    integers = _integers(given, coding.decimals)
    odd = _bits(_divided(integers, coding.decimals, values.dtype)) != _bits(values)
    null = None
    if odd.any():
        null = np.isnan(given) | (np.abs(given) * 10.0**coding.decimals >= _LARGEST) if coding.exact else odd
        integers[null] = 0
    stored = {name: _decimals(integers, null, coding)}
    if coding.exact:
        plain_nan = np.zeros(len(values), dtype=np.bool_)
        plain_nan[odd] = _bits(values[odd]) == _bits(np.array([np.nan], dtype=values.dtype))[0]
        stored[name + EXACT] = pa.array(values, mask=~odd | plain_nan)
    return stored


def _decimals(integers: NDArray[np.int64], null: NDArray[np.bool_] | None, coding: Coding) -> pa.Array:
    import pyarrow as pa

    kind = pa.decimal64(18, coding.decimals) if coding.wide else pa.decimal32(9, coding.decimals)
    narrow = integers if coding.wide else integers.astype(np.int32)
    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(kind, len(integers), [valid, pa.py_buffer(narrow)])


def into(out: NDArray[Any], name: str, stored: Mapping[str, pa.Array], coding: Coding | None) -> None:
    """Write what `to_arrow` stored into an array of the column's dtype, shape (n,)."""
    column = stored[name]
    if coding is None or coding.decimals is None:
        out[:] = column.to_numpy(zero_copy_only=False)
        return
    kind: type[np.signedinteger[Any]] = np.int64 if column.type.byte_width == 8 else np.int32
    integers: NDArray[Any] = np.frombuffer(column.buffers()[1], dtype=kind, count=len(column) + column.offset)[column.offset :]
    power = 10.0**coding.decimals
    if out.dtype == np.float64:
        np.divide(integers, power, out=out)
    else:
        out[:] = _divided(integers, coding.decimals, out.dtype)
    if column.null_count:
        out[np.asarray(column.is_null().to_numpy(zero_copy_only=False))] = np.nan
    if coding.exact:
        exact = stored[name + EXACT]
        there = exact.is_valid().to_numpy(zero_copy_only=False)
        out[there] = exact.drop_null().to_numpy(zero_copy_only=False)
