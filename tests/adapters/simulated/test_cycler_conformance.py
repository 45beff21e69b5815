"""The simulated cycler keeps every rule of the conformance kit."""

from functools import partial

from adapters.conformance import RULES, check_cycler, short_request
from adapters.simulated import SimulatedCycler
from orchestrator.domain import Candidate
from orchestrator.domain.cell_design import cell_design
from orchestrator.representation.charging import reference_performance


def test_the_simulated_cycler_keeps_every_rule(bench_cell):
    """On bench cells, two channels."""
    assert check_cycler(lambda: SimulatedCycler(2, cell=bench_cell), keys="bench").kept == tuple(RULES)


def test_it_keeps_every_rule_where_check_ups_follow_the_cycles(bench_cell):
    """They take many times as long as the cycles: nothing of them is read before its time."""
    checkup = reference_performance(Candidate({}), cell_design("lfp_a123"))
    request_for = partial(short_request, checkup=checkup)
    assert check_cycler(lambda: SimulatedCycler(2, cell=bench_cell), request_for, keys="bench").kept == tuple(RULES)


def test_the_simulated_cycler_keeps_every_rule_with_real_cells(pybamm_cell):
    """With the PyBaMM cell: rows, signs and times are the model's."""
    assert check_cycler(lambda: SimulatedCycler(2, cell=pybamm_cell), keys="real").kept == tuple(RULES)
