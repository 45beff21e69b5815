"""What the check-ups in a recording measured, and that cycles know nothing of it."""

import numpy as np
import pytest

from orchestrator.domain import Recording
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.features import checkup_capacity_Ah, cycle_summary, discharge_curve, impedance_spectra, pulse_resistance_ohm

# (step, current A, seconds, voltage V); a check-up of 1.02 Ah, a pulse of 20 mohm after a rest at 3.3 V, and a charge.
CYCLE = [(1, -1.0, 3600.0, 3.1), (2, 1.0, 3600.0, 3.5)]
CHECKUP = [(1, -0.2, 18360.0, 3.2), (2, 0.0, 600.0, 3.3), (3, -1.0, 10.0, 3.28), (4, 0.0, 600.0, 3.3), (6, 0.5, 7200.0, 3.4)]


def rows(steps, start_s, first_id):
    """Twelve rows a step, none at the same time as another."""
    parts = []
    for number, amps, seconds, volts in steps:
        time_s = start_s + np.linspace(1e-3, seconds, 12)
        parts.append(
            np.stack([time_s, np.full(12, volts), np.full(12, amps), np.full(12, first_id + number), *np.full((3, 12), np.nan)])
        )
        start_s = time_s[-1]
    return np.concatenate(parts, axis=1)


def spectrum(start_s):
    """Three frequencies, as step 5 of a check-up."""
    return np.array(
        [
            start_s + np.array([1.0, 2, 3]),
            [3.3] * 3,
            [0.0] * 3,
            [CHECKUP_STEP_ID + 5] * 3,
            [10.0, 1, 0.1],
            [0.01, 0.02, 0.03],
            [-0.001] * 3,
        ]
    )


@pytest.fixture
def recording():
    """Cycles 1 and 50, each with a check-up, and a spectrum in the first one."""
    parts, counts = [], []
    for cycle, start_s in ((1, 0.0), (50, 4e5)):
        here = [rows(CYCLE, start_s, 0), rows(CHECKUP, start_s + 8000.0, CHECKUP_STEP_ID)]
        here += [spectrum(start_s + 50_000.0)] if cycle == 1 else []
        parts += here
        counts += [cycle] * sum(part.shape[1] for part in here)
    names = ("test_time_second", "voltage_volt", "current_ampere", "step_id", "frequency_hertz", "real_impedance_ohm",
             "imaginary_impedance_ohm")  # fmt: skip
    columns = dict(zip(names, np.concatenate(parts, axis=1), strict=True))
    columns["step_id"] = columns["step_id"].astype(np.int64)
    return Recording({**columns, "cycle_count": np.array(counts)}, nominal_capacity_Ah=1.0)


def test_each_row_is_of_a_cycle_or_of_a_check_up(recording):
    """Nothing is lost or in both; a recording without check-ups is all cycles."""
    ageing, checkups = recording.ageing(), recording.checkups()
    assert len(ageing) + len(checkups) == len(recording)
    assert ageing.column("step_id").max() == 2
    assert checkups.column("step_id").min() == CHECKUP_STEP_ID + 1
    assert ageing.ageing() is ageing
    assert len(ageing.checkups()) == 0


def test_a_check_up_adds_nothing_to_its_cycle(recording):
    """Capacities, energies and discharge curve are those of the ageing cycle, with or without check-ups behind it."""
    assert cycle_summary(recording).equals(cycle_summary(recording.ageing()))
    assert cycle_summary(recording)["discharge_capacity_Ah"].to_list() == pytest.approx([1.0, 1.0], rel=1e-3)
    assert discharge_curve(recording, 50, [2.5])[0] == pytest.approx(1.0, rel=1e-3)


def test_a_check_up_is_known_by_its_cycle(recording):
    """Capacity of the slow discharge, resistance of the pulse, and the spectrum where one was measured."""
    assert checkup_capacity_Ah(recording) == pytest.approx({1: 1.02, 50: 1.02}, rel=1e-3)
    assert pulse_resistance_ohm(recording) == pytest.approx({1: 0.02, 50: 0.02}, rel=1e-3)
    found = impedance_spectra(recording)
    assert list(found) == [1]
    assert found[1].frequency_Hz.tolist() == [10.0, 1.0, 0.1]
    assert found[1].Z_ohm.tolist() == [0.01 - 0.001j, 0.02 - 0.001j, 0.03 - 0.001j]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_noise_of_a_rest_is_no_capacity(recording, sign):
    """A check-up without a discharge is left out: neither noise nor an offset at rest has a capacity."""
    columns, here = dict(recording.columns), recording.columns["step_id"] > CHECKUP_STEP_ID
    resting = here & (recording.columns["cycle_count"] == 50)
    noise_A = np.random.default_rng(0).normal(sign * 1e-4, 2e-4, len(here))
    columns["current_ampere"] = np.where(resting, noise_A, columns["current_ampere"])
    assert list(checkup_capacity_Ah(Recording(columns, nominal_capacity_Ah=1.0))) == [1]
    charging = np.where(resting, 1.0 + noise_A, columns["current_ampere"])
    charging = np.where(resting & (recording.column("step_id") == CHECKUP_STEP_ID + 2), noise_A, charging)
    unnamed = Recording({**columns, "current_ampere": charging})
    assert list(checkup_capacity_Ah(unnamed)) == [1]


def test_a_recording_without_check_ups_answers_with_nothing(recording):
    """Not with an error, and never with figures of the cycles."""
    plain = recording.ageing()
    assert checkup_capacity_Ah(plain) == pulse_resistance_ohm(plain) == impedance_spectra(plain) == {}
