"""Dates and durations as text: every notation of the vendors, to the microsecond; what is none is not guessed."""

import numpy as np
import polars as pl
import pytest

from adapters.formats.timestamps import (
    STAMPS,
    duration_seconds,
    is_ambiguous,
    is_duration,
    known_time_zone,
    stamp_format,
    stamp_seconds,
)

MOMENT = 1700754968.0  # 2023-11-23 15:56:08 UTC


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-23 15:56:08",
        "2023-11-23T15:56:08.000",
        "2023/11/23 15:56:08",
        "2023.11.23 15:56:08",
        "11/23/2023 15:56:08",
        "\t11/23/2023 15:56:08.000",
        "23/11/2023 15:56:08",
        "11/23/2023 3:56:08 PM",
        "23.11.2023 15:56:08",
        "23-Nov-23 3:56:08 PM",
        "23-Nov-2023 03:56:08 PM",
        "23-Nov-23 15:56:08",
        "2023-11-23T16:56:08+01:00",
    ],
)
def test_every_notation_is_the_same_moment(text):
    """Found by the text alone."""
    notation = stamp_format([text])
    assert notation in STAMPS
    assert stamp_seconds(pl.Series([text]), notation, "UTC").tolist() == [MOMENT]


def test_microseconds_are_kept_and_blanks_are_missing():
    """Each second is the nearest float64; empty text and what is no date are NaN."""
    texts = pl.Series(["2023-11-23 15:56:08.558", None, "", "yesterday"])
    found = stamp_seconds(texts, STAMPS[0], "UTC")
    assert found[0] == 1700754968.558
    assert np.isnan(found[1:]).all()


def test_days_and_months_that_could_be_exchanged_are_known():
    """One day above twelve settles it; other notations leave no doubt."""
    assert is_ambiguous(["04/05/2024 10:00:00"], "%m/%d/%Y %H:%M:%S%.f")
    assert not is_ambiguous(["04/05/2024 10:00:00", "04/13/2024 10:00:00"], "%m/%d/%Y %H:%M:%S%.f")
    assert not is_ambiguous(["2024-04-05 10:00:00"], STAMPS[0])
    assert stamp_format(["04/05/2024 10:00:00", "13/05/2024 10:00:00"]) == "%d/%m/%Y %H:%M:%S%.f"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:10", 10.0),
        ("0d 00:00:10.06", 10.06),
        ("  1d 02:00:10.50", 93610.5),
        ("1-02:00:10,5", 93610.5),
        ("100:00:00.001", 360000.001),
        ("1:2:3.123456", 3723.123456),
    ],
)
def test_durations(text, seconds):
    """With days, with hours beyond a day, with either decimal sign: the nearest float64."""
    assert is_duration(text)
    assert duration_seconds(pl.Series([text])).tolist() == [seconds]


@pytest.mark.parametrize("text", ["", "10", "10:00", "2023-11-23 15:56:08", "a:b:c", "-1:00:00"])
def test_what_is_no_duration_is_not_guessed(text):
    """NaN, for the reader to name."""
    assert not is_duration(text)
    assert np.isnan(duration_seconds(pl.Series([text]))).all()


def test_time_zones_are_iana_names():
    """Nothing else, and no path."""
    assert known_time_zone("UTC")
    assert known_time_zone("Europe/Berlin")
    assert not any(map(known_time_zone, ("", "Mars", "../../etc/passwd", "/etc/localtime")))


def test_fractions_beyond_microseconds_are_rounded():
    """Not cut off: the next second is nearer."""
    assert duration_seconds(pl.Series(["00:00:02.999999999", "00:00:01.1234564"])).tolist() == [3.0, 1.123456]
