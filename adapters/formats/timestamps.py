"""Dates and durations that cyclers write as text, turned into seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

# In chrono's notation, as polars takes it. Month first goes before day first, as in American cyclers' software.
STAMPS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y.%m.%d %H:%M:%S%.f",
    "%m/%d/%Y %H:%M:%S%.f",
    "%d/%m/%Y %H:%M:%S%.f",
    "%m/%d/%Y %I:%M:%S%.f %p",
    "%d/%m/%Y %I:%M:%S%.f %p",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d-%b-%y %I:%M:%S %p",
    "%d-%b-%Y %I:%M:%S %p",
    "%d-%b-%y %H:%M:%S%.f",
    "%d-%b-%Y %H:%M:%S%.f",
    "%m/%d/%y %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f%:z",
)
# Groups: days, hours, minutes, seconds, their fraction.
_DURATION = r"^(?:(\d{1,6})\s*d\s*|(\d{1,6})[-.])?\s*(\d{1,9}):(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?$"


def stamp_format(samples: Sequence[str]) -> str | None:
    """The notation in which every sample is a date; None if there is none."""
    import polars as pl

    given = pl.Series([text.strip() for text in samples if text.strip()], dtype=pl.String)
    return next((f for f in STAMPS if len(given) and _parsed(given, f).null_count() == 0), None)


def is_ambiguous(samples: Sequence[str], notation: str) -> bool:
    """Whether day and month of every sample could be exchanged."""
    if not notation.startswith("%m/%d/%Y"):
        return False
    days = [text.strip().split("/")[1:2] for text in samples if text.strip()]
    return all(day and day[0].isdecimal() and int(day[0]) <= 12 for day in days)


def stamp_seconds(texts: pl.Series, notation: str, time_zone: str) -> NDArray[np.float64]:
    """Dates as seconds since 1970 in UTC, shape (n,); NaN where the text is empty or no such date.

    Args:
        texts: as the file has them.
        notation: one of `STAMPS`.
        time_zone: of dates that name none.
    """
    import polars as pl

    moments = _parsed(texts.str.strip_chars(), notation)
    if getattr(moments.dtype, "time_zone", None) is None:
        moments = moments.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    microseconds = moments.dt.epoch("us").cast(pl.Float64)
    return np.asarray(microseconds.fill_null(np.nan).to_numpy() / 1e6, dtype=np.float64)


def _parsed(texts: pl.Series, notation: str) -> pl.Series:
    return texts.str.to_datetime(notation, time_unit="us", strict=False)


def is_duration(text: str) -> bool:
    """Whether text is a time such as `12:03:04.5` or `0d 00:00:10.06`."""
    import polars as pl

    return bool(pl.Series([text.strip()]).str.contains(_DURATION)[0])


def duration_seconds(texts: pl.Series) -> NDArray[np.float64]:
    """Durations as seconds, shape (n,), rounded to microseconds and each the nearest float64; NaN where the text is none."""
    import polars as pl

    stripped = texts.str.strip_chars()
    part = [stripped.str.extract(_DURATION, n) for n in range(1, 7)]
    days = part[0].fill_null("").cast(pl.Int64, strict=False).fill_null(0) + part[1].cast(pl.Int64, strict=False).fill_null(0)
    whole = days * 86400 + part[2].cast(pl.Int64) * 3600 + part[3].cast(pl.Int64) * 60 + part[4].cast(pl.Int64)
    billionths = (part[5].fill_null("") + pl.Series(["000000000"])).str.slice(0, 9).cast(pl.Int64)
    millionths = billionths // 1000 + (billionths % 1000 >= 500).cast(pl.Int64)
    # Whole nanoseconds would pass 2^53 after 104 days; microseconds after 285 years.
    total = (whole * 1_000_000 + millionths).cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.asarray(total / 1e6, dtype=np.float64)


def known_time_zone(name: str) -> bool:
    """Whether a time zone is one of the IANA data base, or UTC."""
    if name == str(UTC):
        return True
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
