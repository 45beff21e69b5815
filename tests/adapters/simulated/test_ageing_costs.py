"""What charge rate and heat cost the simulated LFP cell, with its real model held at the ambient's temperature."""

from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated import ageing
from adapters.simulated.cell_model import PybammCell
from adapters.simulated.cell_parameters import CellState
from adapters.simulated.cell_presets import LFP_A123
from adapters.simulated.experiment import plan_cycle
from adapters.simulated.life_test import CheckUp, LifeTest

TIGHTLY_COOLED = {**LFP_A123.parameters.overrides, "Total heat transfer coefficient [W.m-2.K-1]": 1e4}
PARAMETERS = replace(LFP_A123.parameters, overrides=TIGHTLY_COOLED)


@pytest.fixture(scope="module")
def cooled_cell():
    return PybammCell(PARAMETERS)


@pytest.fixture
def life_of(cooled_cell, request_for):
    """Cycles to the end of life of one and the same cell."""

    def life(rate_C, ambient_degC):
        wanted = request_for(
            "one cell", rates_C=(rate_C,), ambient_temperature_degC=ambient_degC, max_cycles=3000, checkup_every_cycles=3000
        )
        checkups = [c for c in LifeTest(wanted, 0, cooled_cell).run() if isinstance(c, CheckUp)]
        hottest = max(float(c.samples["temperature_degC"].max()) for c in checkups)
        assert hottest == pytest.approx(ambient_degC, abs=0.5)
        return checkups[-1].cycle

    return life


def test_faster_charge_and_heat_cost_life(life_of):
    """At one temperature the faster charge ends the cell sooner, and at one charge the hotter chamber does."""
    calm, fast, hot = life_of(5.0, 30.0), life_of(6.5, 30.0), life_of(5.0, 45.0)
    assert fast < 0.8 * calm
    assert hot < 0.8 * calm


def test_cold_brings_plating(cooled_cell, fast_charge):
    """Waldmann et al., J. Power Sources 262 (2014) 129: below room temperature plating rules, and the colder the more."""
    plan = plan_cycle(fast_charge(5.0), PARAMETERS)
    law = LFP_A123.law
    fresh = CellState(law.fresh_impeded, law.lithium_Ah, law.series_resistance_factor, law.negative_active)

    def plating_V_s(ambient_degC):
        traces = [t for t in cooled_cell.run(plan, fresh, 3.6, ambient_degC + 273.15) if len(t.time_s)]
        joined = {name: np.concatenate([t.columns[name] for t in traces]) for name in traces[0].columns}
        time_s = np.concatenate([t.time_s for t in traces])
        columns = [joined[name] for name in ("current_A", "temperature_K", "anode_potential_V")]
        return ageing.stress_of(time_s, *columns, law).plating_V_s

    freezing, cool, warm = (plating_V_s(degC) for degC in (0.0, 15.0, 30.0))
    assert freezing > 1.5 * cool > 1.5 * 1.2 * warm
