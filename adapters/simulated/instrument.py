"""What a cycler's channel makes of the truth: noise, and a current calibration that drifts from check-up to check-up.

Sizes of a good multichannel cycler with a thermocouple on the can; chosen, not taken from a data sheet.
"""

from __future__ import annotations

import numpy as np

from adapters.simulated.cell_steps import Array
from adapters.simulated.seeding import generator

VOLTAGE_NOISE_V = 2e-4
CURRENT_NOISE_A = 2e-4
CURRENT_GAIN_DRIFT = 4e-4  # about 0.45 mAh on a discharge of 1.1 Ah
TEMPERATURE_NOISE_K = 0.05


class Instrument:
    """One channel's view of one check-up; seeded by cycler, key and cycle, so that reading twice reads the same."""

    def __init__(self, seed: int, key: str, cycle: int) -> None:
        self._rng = generator(seed, key, f"instrument/{cycle}")
        self.gain = 1 + CURRENT_GAIN_DRIFT * float(self._rng.standard_normal())

    def measure(self, samples: dict[str, Array]) -> dict[str, Array]:
        """The samples of a check-up as the channel records them; call once per instrument."""
        n, draw = len(samples["time_s"]), self._rng.standard_normal
        return {
            **samples,
            "voltage_V": samples["voltage_V"] + VOLTAGE_NOISE_V * draw(n),
            "current_A": self.gain * samples["current_A"] + CURRENT_NOISE_A * draw(n),
            "temperature_degC": samples["temperature_degC"] + TEMPERATURE_NOISE_K * draw(n),
            "charged_Ah": self.gain * samples["charged_Ah"],
            "discharged_Ah": self.gain * samples["discharged_Ah"],
        }


def as_columns(samples: dict[str, Array], start_s: float, cycle: int, ambient_degC: float) -> dict[str, np.ndarray]:
    """One check-up under Battery Data Format names; `test_time_second` counts from the test's start."""
    n = len(samples["time_s"])
    return {
        "test_time_second": start_s + samples["time_s"],
        "voltage_volt": samples["voltage_V"],
        "current_ampere": samples["current_A"],
        "cycle_count": np.full(n, cycle, dtype=np.int64),
        "step_count": samples["step"].astype(np.int64),
        "ambient_temperature_celsius": np.full(n, ambient_degC),
        "surface_temperature_celsius": samples["temperature_degC"],
        "charging_capacity_ah": samples["charged_Ah"],
        "discharging_capacity_ah": samples["discharged_Ah"],
    }
