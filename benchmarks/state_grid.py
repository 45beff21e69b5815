"""What a check-up of the cell model gives, on a grid of ageing states, interpolated: life tests in milliseconds.

Between check-ups the ageing law is pure numpy; what PyBaMM adds is a smooth function of the state (impeded fraction phi,
lithium N, negative active material, series resistance). Cubic splines in phi and N; linear, and additive, in the other two.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from adapters.simulated import ageing
from adapters.simulated.ageing import AgeingLaw, Stress
from adapters.simulated.cell_parameters import ZERO_CELSIUS_K, CellState
from adapters.simulated.cell_presets import preset_for
from adapters.simulated.cell_steps import CyclingCell
from adapters.simulated.experiment import plan_cycle
from adapters.simulated.instrument import Instrument
from adapters.simulated.seeding import generator
from benchmarks.severson import AMBIENT_DEGC, DESIGN, END_OF_LIFE_AH, VOLTS, Array, LifeRecord, SeversonCell

IMPEDED = np.array([0.004, 0.03, 0.06, 0.1, 0.15, 0.2, 0.26, 0.33, 0.42])
LITHIUM_AH = np.array([0.88, 0.94, 1.0, 1.05, 1.09, 1.115])
ACTIVE = 0.957 * np.array([0.965, 1.035])
RESISTANCE = 0.5247292679909692 * np.array([1.0, 1.2])
CURVE_VOLTS = VOLTS[::3]
MOST_CYCLES = 6000


@dataclass(frozen=True)
class CheckupGrid:
    """Check-ups of one protocol at all states of the grid.

    Attributes:
        numbers: capacity (Ah) and the logarithms of x, A, P and 1 + h of the law, shape (phi, N, 3, 5); the three are little
            and much active material at the fresh resistance, and the mean of both at the higher resistance.
        curves_Ah: Q(V) at `CURVE_VOLTS`, shape (phi, N, 3, volts).
    """

    numbers: Array
    curves_Ah: Array

    def at(self, state: CellState) -> tuple[float, Stress]:
        """Capacity and stress of a check-up in a state."""
        capacity, *logs = self._mix(self.numbers, state).tolist()
        x, a, p, rest = np.exp(logs).tolist()
        return capacity, Stress(x, a, p, rest - 1)

    def curve_Ah(self, state: CellState) -> Array:
        """Q(V) at `VOLTS`."""
        return np.interp(-VOLTS, -CURVE_VOLTS, self._mix(self.curves_Ah, state))

    def _mix(self, values: Array, state: CellState) -> Array:
        lithium = np.tensordot(_IN_LITHIUM.weights(state.lithium_Ah), values, (0, 1))
        little, much, resistive = np.tensordot(_IN_PHI.weights(state.impeded_fraction), lithium, (0, 0))
        more = (state.negative_active - ACTIVE[0]) / (ACTIVE[1] - ACTIVE[0])
        higher = (state.resistance_factor - RESISTANCE[0]) / (RESISTANCE[1] - RESISTANCE[0])
        mixed: Array = (1 - more) * little + more * much + higher * (resistive - 0.5 * (little + much))
        return mixed


class _Spline:
    """Weights of the nodes in a natural cubic spline, tabulated."""

    def __init__(self, nodes: Array) -> None:
        self._points = np.linspace(nodes[0] - 0.01, nodes[-1] + 0.08, 1500)
        self._table = CubicSpline(nodes, np.eye(len(nodes)), bc_type="natural")(self._points)

    def weights(self, at: float) -> Array:
        """Weights of the nodes at a place; at the table's edge outside it."""
        return self._table[int(np.clip(np.searchsorted(self._points, at), 0, len(self._points) - 1))]


_IN_PHI, _IN_LITHIUM = _Spline(IMPEDED), _Spline(LITHIUM_AH)


def checkup_grid(real: SeversonCell, cell: CyclingCell, law: AgeingLaw) -> CheckupGrid:
    """The grid of one protocol, from the temporary folder where an earlier run left it; else ten seconds of simulation."""
    preset = preset_for(DESIGN.name)
    what = repr((real.candidate, preset.parameters.parameter_set, preset.parameters.overrides, stress_coefficients(law)))
    path = Path(tempfile.gettempdir()) / "voltloop-calibration" / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        numbers, curves = _simulated(real, cell, law)
        path.parent.mkdir(exist_ok=True)
        np.savez(path, numbers=numbers, curves=curves)
    with np.load(path) as file:
        return CheckupGrid(file["numbers"], file["curves"])


def stress_coefficients(law: AgeingLaw) -> tuple[float, ...]:
    """The coefficients that are inside a check-up's stress: a grid holds for these alone."""
    names = (
        "impeding_activation_J_mol",
        "impeding_power",
        "film_activation_J_mol",
        "plating_activation_J_mol",
        "plating_scale_V",
    )
    return tuple(float(getattr(law, name)) for name in names)


def _simulated(real: SeversonCell, cell: CyclingCell, law: AgeingLaw) -> tuple[Array, Array]:
    shape = (len(IMPEDED), len(LITHIUM_AH), 3)
    numbers, curves = np.empty((*shape, 5)), np.empty((*shape, len(CURVE_VOLTS)))
    variants = ((ACTIVE[0], RESISTANCE[0]), (ACTIVE[1], RESISTANCE[0]), (ACTIVE.mean(), RESISTANCE[1]))
    plan = plan_cycle(real.protocol, preset_for(DESIGN.name).parameters)
    for place in np.ndindex(shape):
        active, resistance = variants[place[2]]
        state = CellState(IMPEDED[place[0]], LITHIUM_AH[place[1]], resistance, active)
        traces = [t for t in cell.run(plan, state, DESIGN.max_voltage_V, AMBIENT_DEGC + ZERO_CELSIUS_K) if len(t.time_s)]
        joined = {name: np.concatenate([t.columns[name] for t in traces]) for name in traces[0].columns}
        time_s = np.concatenate([t.time_s for t in traces])
        passed = np.maximum(np.diff(joined["discharged_Ah"]), 0).sum()
        stress = ageing.stress_of(time_s, *(joined[n] for n in ("current_A", "temperature_K", "anode_potential_V")), law)
        logged = (stress.charge_rate_cubed_h, stress.arrhenius_h, max(stress.plating_V_s, 1e-9), 1 + stress.rest_h)
        numbers[place] = (passed, *np.log(logged))
        first = traces[0].columns
        falling = np.minimum.accumulate(first["voltage_V"])
        curves[place] = np.interp(-CURVE_VOLTS, -falling, first["discharged_Ah"], left=0.0)
    return numbers, curves


def quick_life(name: str, seed: int, grid: CheckupGrid, law: AgeingLaw) -> LifeRecord:
    """The life test that `LifeTest` would run under this key and seed, on the interpolated check-ups."""
    cell = ageing.manufacture(generator(seed, name, "cell"), law)
    age, history, curves = ageing.begin(cell, law), [], {}
    while True:
        state = ageing.state_of(cell, age, generator(seed, name, f"contacts/{age.cycle}"), law)
        capacity, stress = grid.at(state)
        history.append((float(age.cycle), capacity))
        if age.cycle in (10, 100):
            curves[age.cycle] = grid.curve_Ah(state) * Instrument(seed, name, age.cycle).gain
        if capacity < END_OF_LIFE_AH or age.cycle > MOST_CYCLES:
            break
        pace = ageing.pace(cell, age, stress, law)
        to = min([age.cycle + ageing.longest_step(pace, law), *(n for n in (10, 100) if n > age.cycle)])
        age = ageing.advance(cell, age, pace, to, law)
    cycles, capacities = np.array(history).T
    life = float(np.interp(-END_OF_LIFE_AH, -capacities[-2:], cycles[-2:]))
    change = curves[100] - curves[10] if len(curves) == 2 else np.full(len(VOLTS), np.nan)
    return LifeRecord(name, life, change, cycles, capacities)
