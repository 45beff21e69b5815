"""A bench cell that costs nothing, the real PyBaMM cell (built once), and requests for both."""

import numpy as np
import pytest

from adapters.simulated import SimulatedCycler
from adapters.simulated.cell_steps import Ending, StepTrace
from orchestrator.domain import (
    Candidate,
    ConstantCurrent,
    ConstantVoltage,
    Protocol,
    Rest,
    RunRequest,
    SafetyLimits,
    VirtualClock,
)
from orchestrator.domain.cell_design import cell_design

LIMITS = SafetyLimits(max_voltage_V=3.65, min_voltage_V=1.9, max_temperature_degC=60.0)


def _fast_charge(*rates_C, discharge_C=4.0, limits=LIMITS):
    """Discharge to 2.0 V, then equal shares of charge to 80 %, then 1C and constant voltage."""
    share_Ah = 0.8 * 1.1 / len(rates_C)
    return Protocol(
        (
            ConstantCurrent(-discharge_C * 1.1, until_voltage_V=2.0),
            ConstantVoltage(2.0, until_current_A=0.022, until_duration_s=1800),
            Rest(300),
            *[ConstantCurrent(c * 1.1, until_voltage_V=3.6, until_capacity_Ah=share_Ah) for c in rates_C],
            ConstantCurrent(1.1, until_voltage_V=3.6),
            ConstantVoltage(3.6, until_current_A=0.022),
        ),
        limits,
    )


def _request_for(key, channel="1", rates_C=(4.0,), **changes):
    fields = {
        "key": key,
        "channel": channel,
        "candidate": Candidate({"c1": float(rates_C[0])}),
        "cell": cell_design("lfp_a123"),
        "protocol": _fast_charge(*rates_C),
        "max_cycles": 1000,
        "ambient_temperature_degC": 30.0,
    }
    return RunRequest(**{**fields, **changes})


class BenchCell:
    """Runs steps as a battery of constant voltage would; what fails, and how often it was asked, can be set and seen."""

    def __init__(self):
        self.cycles_run = self.spectra_measured = 0
        self.raises_from = None  # number of runs after which it raises
        self.drops_last_step = False

    def run(self, steps, state, voltage_V, ambient_K):
        """Run steps, counting."""
        self.cycles_run += 1
        if self.raises_from is not None and self.cycles_run > self.raises_from:
            raise RuntimeError("the bench is on fire")
        steps = list(steps)[:-1] if self.drops_last_step else list(steps)
        full_Ah = state.lithium_Ah - 0.02 - 0.5 * state.impeded_fraction
        held_Ah, clock_s, traces = full_Ah if voltage_V > 3 else 0.0, 0.0, []
        for step in steps:
            trace = self._step(step, clock_s, held_Ah, full_Ah, ambient_K)
            if len(trace.time_s):
                held_Ah = full_Ah - trace.columns["discharged_Ah"][-1]
                clock_s = trace.time_s[-1]
            traces.append(trace)
        return traces

    def impedance(self, frequency_Hz, state, voltage_V, ambient_K, discharged_Ah):
        """A resistance that grows with the series resistance and a semicircle, whatever the charge."""
        self.spectra_measured += 1
        omega = 2 * np.pi * frequency_Hz
        return 0.01 * state.resistance_factor + 0.02 / (1 + 1j * omega * 0.02 * 0.5)

    def _step(self, step, clock_s, held_Ah, full_Ah, ambient_K):
        ending, amps, duration_s = Ending.DURATION, step.current_A, step.max_duration_s
        room_Ah = full_Ah - held_Ah if amps > 0 else held_Ah
        to_the_end_s = room_Ah / abs(amps) * 3600 if amps else np.inf
        if step.voltage_V is not None:
            ending, duration_s = Ending.CURRENT, 60.0
        elif to_the_end_s <= duration_s and (step.until_above_V or step.until_below_V):
            ending, duration_s = Ending.VOLTAGE, to_the_end_s
        if duration_s <= 0:
            return StepTrace.empty(step, clock_s, ending)
        time_s = clock_s + np.linspace(0, duration_s, 11)
        columns = {
            "voltage_V": np.full(11, 3.6 if amps > 0 else 3.2),
            "current_A": np.full(11, float(amps)),
            "temperature_K": np.full(11, ambient_K + 0.3 * amps**2),
            "anode_potential_V": np.full(11, 0.06 - 0.2 * state_fraction(full_Ah)),
            "discharged_Ah": full_Ah - held_Ah - amps * (time_s - clock_s) / 3600,
        }
        return StepTrace(step, clock_s, time_s, columns, ending)


def state_fraction(full_Ah):
    """How far the cell has aged, 0 to 1."""
    return min(1.0, max(0.0, (1.07 - full_Ah) / 0.2))


@pytest.fixture
def request_for():
    """The function that makes a request: key, channel, charge rates, and any other field."""
    return _request_for


@pytest.fixture
def fast_charge():
    """The function that makes a protocol of charge rates."""
    return _fast_charge


@pytest.fixture
def bench_cell():
    return BenchCell()


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def new_cycler(tmp_path, clock, bench_cell):
    """Cyclers on one folder, clock and bench cell: each call is the lab after a restart."""

    def make(channels=4, **changes):
        fields = {"folder": tmp_path / "sim", "clock": clock, "cell": bench_cell}
        return SimulatedCycler(channels, **{**fields, **changes})

    return make


@pytest.fixture
def cycler(new_cycler):
    return new_cycler()


@pytest.fixture(scope="session")
def pybamm_cell():
    from adapters.simulated.cell_model import pybamm_cell

    return pybamm_cell("lfp_a123")
