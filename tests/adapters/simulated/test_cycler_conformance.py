"""The simulated cycler keeps every rule of the conformance kit."""

from adapters.conformance import RULES, check_cycler
from adapters.simulated import SimulatedCycler


def test_the_simulated_cycler_keeps_every_rule(bench_cell):
    """On bench cells, two channels."""
    assert check_cycler(lambda: SimulatedCycler(2, cell=bench_cell), keys="bench").kept == tuple(RULES)


def test_the_simulated_cycler_keeps_every_rule_with_real_cells(pybamm_cell):
    """With the PyBaMM cell: rows, signs and times are the model's."""
    assert check_cycler(lambda: SimulatedCycler(2, cell=pybamm_cell), keys="real").kept == tuple(RULES)
