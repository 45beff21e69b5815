"""Cycles are counted from charge and discharge where a file counted none; nothing else makes a cycle."""

import numpy as np
import pytest

from orchestrator.domain import Recording, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.features import cycle_summary, discharge_curves, number_cycles


def program(steps, scale=1.0):
    """Rows every half minute of steps (A, h)."""
    amps = np.concatenate([np.full(round(120 * hours), current * scale) for current, hours in steps])
    volts = 3.6 + 0.1 * np.sign(amps) + np.linspace(0, 1e-3, len(amps))
    return {"test_time_second": 30.0 * np.arange(len(amps)), "voltage_volt": volts, "current_ampere": amps}


def borders(numbers):
    return np.flatnonzero(np.diff(numbers)) + 1


CYCLE = [(1.0, 1.0), (0.0, 0.1), (-1.0, 1.0), (0.0, 0.1)]
ROWS = 264  # of a cycle


@pytest.mark.parametrize("scale", [2e-6, 2e-3, 1.0, 300.0])
def test_a_cycle_begins_with_the_first_charge_after_a_discharge(scale):
    """Whatever the size of the cell; the rest after a discharge belongs to it."""
    numbers = number_cycles(program(CYCLE * 3, scale))
    assert borders(numbers).tolist() == [ROWS, 2 * ROWS]
    assert numbers[[0, -1]].tolist() == [1, 3]
    assert numbers.dtype == np.int64


def test_a_recording_that_begins_with_a_discharge_has_it_alone_in_its_first_cycle():
    """A first discharge is a cycle; the charge after it begins the next."""
    assert borders(number_cycles(program([(0.0, 0.1), (-1.0, 1.0), *CYCLE, *CYCLE]))).tolist() == [132, 132 + ROWS]


def test_pulses_pauses_and_braking_make_no_cycles():
    """A discharge in small pieces with charges of a tenth of each between them, pulses, noise at rest."""
    drive = [(-2.0, 0.05), (0.2, 0.05)] * 10 + [(-2.0, 0.05)]
    steps = [(1.0, 1.0), (0.0, 0.5), (0.5, 1 / 120), (-0.5, 1 / 120), (0.0, 0.2), *drive, (0.0, 0.5)]
    columns = program(steps * 3)
    noise = np.random.default_rng(0).normal(size=len(columns["current_ampere"]))
    columns["current_ampere"] = columns["current_ampere"] + 3e-4 * noise
    length = len(noise) // 3
    assert borders(number_cycles(columns)).tolist() == pytest.approx([length, 2 * length], abs=1)
    assert number_cycles(columns)[-1] == 3


def test_rows_that_say_nothing_and_checkups_do_not_count():
    """They have the number of the cycle that they lie in."""
    columns = program(CYCLE * 3)
    rows = len(columns["current_ampere"])
    wanted = number_cycles(columns)
    silent = np.zeros(rows, dtype=bool)
    silent[[5, 100, 300, 600]] = True
    broken = {**columns, "current_ampere": np.where(silent, np.nan, columns["current_ampere"])}
    assert (number_cycles(broken) == wanted).all()
    flagged = {
        **columns,
        "test_time_second": np.where(silent, -1.0, columns["test_time_second"]),
        "quality_flags": np.where(silent, int(QualityFlag.TIME_BACKWARDS), 0),
    }
    assert (number_cycles(flagged) == wanted).all()
    checkup = {**columns, "step_id": np.where(np.arange(rows) >= 2 * ROWS, CHECKUP_STEP_ID + 1, 1)}
    assert number_cycles(checkup)[-1] == 2


def test_what_is_not_there_makes_one_cycle():
    """Rests, charges alone, a last charge too small, no rows."""
    assert set(number_cycles(program([(0.0, 1.0)])).tolist()) == {1}
    assert set(number_cycles(program([(1.0, 1.0)])).tolist()) == {1}
    assert set(number_cycles(program([*CYCLE, (1.0, 0.04)])).tolist()) == {1}
    assert set(number_cycles(program([*CYCLE, (1.0, 0.06)])).tolist()) == {1, 2}
    assert set(number_cycles(program([*CYCLE, (1.0, 0.06)]), 2.0).tolist()) == {1}
    assert set(number_cycles(program([*CYCLE, (1.0, 0.06)]), least_share=0.1).tolist()) == {1}
    assert len(number_cycles({"test_time_second": np.zeros(0), "current_ampere": np.zeros(0)})) == 0


def test_the_numbers_are_used_where_they_are_given():
    """The columns are as before; with the numbers there are curves and a row a cycle."""
    columns = program(CYCLE * 3, 2e-3)
    with pytest.raises(SpecError, match=r"cycle_count: is missing .*number_cycles"):
        discharge_curves(columns, [1], [3.0, 3.5])
    numbered = {**columns, "cycle_count": number_cycles(columns)}
    assert "cycle_count" not in columns
    assert discharge_curves(numbered, [1, 3], [3.0])[:, 0] == pytest.approx(2e-3, rel=0.02)
    assert cycle_summary(Recording(numbered))["cycle_count"].to_list() == [1, 2, 3]


def test_what_cannot_be_counted_is_refused():
    """With what is wrong with it."""
    columns = program(CYCLE)
    with pytest.raises(SpecError, match="runs backwards in the recording"):
        number_cycles({**columns, "test_time_second": columns["test_time_second"][::-1]})
    with pytest.raises(SpecError, match="current_ampere: is missing"):
        number_cycles({"test_time_second": np.zeros(2)})
    with pytest.raises(SpecError, match="least_share"):
        number_cycles(columns, least_share=1.5)
    with pytest.raises(SpecError, match="nominal_capacity_Ah"):
        number_cycles(columns, 0.0)
    with pytest.raises(SpecError, match=r"recording\.columns"):
        number_cycles(Recording(columns))
