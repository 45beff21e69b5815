"""Input that features cannot take is refused with what to do, never with an AttributeError."""

import numpy as np
import polars as pl
import pytest

from orchestrator.domain import Recording, SpecError
from orchestrator.features import (
    check_columns,
    checkup_capacity_Ah,
    cycle_summary,
    discharge_curve,
    discharge_curves,
    impedance_spectra,
    pulse_resistance_ohm,
)

COLUMNS = {
    "test_time_second": np.array([0.0, 10.0, 5.0, 20.0]),
    "voltage_volt": np.full(4, 3.3),
    "current_ampere": np.full(4, 1.0),
}


@pytest.mark.parametrize("given", [COLUMNS, pl.DataFrame(COLUMNS), None], ids=["dict", "polars", "none"])
@pytest.mark.parametrize("function", [cycle_summary, impedance_spectra, checkup_capacity_Ah, pulse_resistance_ohm])
def test_what_is_no_recording_is_refused_with_how_one_is_made(function, given):
    """A table or a dict is named, and both ways to a recording."""
    with pytest.raises(SpecError, match=rf"{type(given).__name__}.*open_recording.*Recording\(columns="):
        function(given)


def test_columns_and_recordings_are_not_confused():
    """Each function says which it wants; a polars table has columns by name."""
    with pytest.raises(SpecError, match=r"recording\.columns"):
        discharge_curves(Recording(COLUMNS), [1], [3.0])
    with pytest.raises(SpecError, match="open_recording"):
        discharge_curves([1.0], [1], [3.0])
    with pytest.raises(SpecError, match="open_recording"):
        discharge_curve(COLUMNS, 1, [3.0])
    with pytest.raises(SpecError, match="number_cycles"):
        discharge_curve(Recording(COLUMNS), 1, [3.0])


def test_time_that_runs_backwards_is_not_put_into_a_cycle_that_nobody_counted():
    """Without numbers it is the recording; the flags that the message names mend it."""
    with pytest.raises(SpecError, match=r"runs backwards in the recording.*check_columns.*--repair time-order") as caught:
        cycle_summary(Recording(COLUMNS))
    assert "cycle 1" not in str(caught.value)
    numbered = {**COLUMNS, "cycle_count": np.full(4, 7)}
    with pytest.raises(SpecError, match=r"runs backwards within cycle 7.*check_columns"):
        cycle_summary(Recording(numbered))
    with pytest.raises(SpecError, match=r"runs backwards within cycle 7.*check_columns"):
        discharge_curves(numbered, [7], [3.0])
    flagged = {**COLUMNS, "quality_flags": check_columns(COLUMNS)[0]}
    assert cycle_summary(Recording(flagged))["rows_left_out"].item() == 1
