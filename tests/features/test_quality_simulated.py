"""Quality checks over recordings of the simulated lab: silent on healthy ones, not on those of a failing sensor."""

import numpy as np
import pytest

from adapters.peers.injected_faults import FaultKind, InjectedFault
from adapters.peers.sensor_faults import as_recorded
from adapters.simulated import SimulatedCycler
from orchestrator.domain import VirtualClock
from orchestrator.domain.cycler import join_columns
from orchestrator.features.quality import check_columns
from tests.adapters.simulated.conftest import _request_for

NOMINAL_AH = 1.1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What the simulated cycler recorded of one cell in a hundred cycles."""
    clock = VirtualClock()
    cycler = SimulatedCycler(1, tmp_path_factory.mktemp("sim"), clock=clock, seed=0)
    ref = cycler.submit(_request_for("quality/1/1", max_cycles=100))
    while not cycler.status(ref).state.ended:
        clock.wait_until(cycler.next_end_h() or clock.now_h() + 100.0)
    parts, cursor = [], None
    while (answer := cycler.read(ref, cursor))[0]:
        parts.append(answer[0])
        cursor = answer[1]
    cycler.close()
    return join_columns(parts)


def test_a_healthy_simulated_cell_gives_no_alarm(recorded):
    """Cycles left out between check-ups are no gaps; integrated and counted charge agree."""
    flags, report = check_columns(recorded, NOMINAL_AH)
    assert report.clean, [str(finding) for finding in report.findings]
    assert not flags.any()
    assert report.charged_Ah == pytest.approx(report.vendor_charged_Ah, rel=1e-3)
    assert report.discharged_Ah == pytest.approx(report.vendor_discharged_Ah, rel=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_drop_out_of_half_the_rows_is_said(recorded, seed):
    """Capacities integrated across lost rows come with a finding, wherever the loss begins."""
    for share_of_test in (0.0, 0.5):
        begins_h = share_of_test * recorded["test_time_second"][-1] / 3600
        fault = InjectedFault(FaultKind.SENSOR_DROPOUT, at_h=begins_h, size=0.5)
        left = as_recorded([recorded], [fault], 0.0, [seed])[0]
        flags, report = check_columns(left, NOMINAL_AH)
        assert [finding.check for finding in report.findings] == ["gaps"]
        sound = left["test_time_second"] / 3600 < begins_h
        assert not flags[sound].any()
        assert np.count_nonzero(flags) == report.found("gaps").rows


def test_an_open_thermocouple_and_a_clock_that_jumps_are_said(recorded):
    """Other faults of sensors, each under its own name."""
    open_wire = as_recorded([recorded], [InjectedFault(FaultKind.THERMOCOUPLE_OPEN, at_h=1.0, size=1370.0)], 0.0, [1])[0]
    found = {finding.check for finding in check_columns(open_wire, NOMINAL_AH)[1].findings}
    assert found == {"impossible_temperature"}
    during_h = recorded["test_time_second"][60] / 3600  # in a step: between cycles that were not recorded a jump leaves no trace
    back = as_recorded([recorded], [InjectedFault(FaultKind.CLOCK_JUMP, at_h=during_h, size=-0.1)], 0.0, [1])[0]
    report = check_columns(back, NOMINAL_AH)[1]
    assert report.found("time_backwards").count == (np.diff(back["test_time_second"]) < 0).sum() == 1
