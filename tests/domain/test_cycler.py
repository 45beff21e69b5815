"""What a cycler is asked to do."""

import pytest

from orchestrator.domain import (
    Candidate,
    CellDesign,
    ConstantCurrent,
    Impedance,
    Loop,
    Protocol,
    Rest,
    RunRequest,
    SpecError,
)
from orchestrator.domain.value import from_plain, to_plain

CELL = CellDesign("cell", 1.0, 4.2, 2.5)
CYCLE = Protocol((ConstantCurrent(-1.0, until_voltage_V=2.5), ConstantCurrent(1.0, until_voltage_V=4.2)))
CHECKUP = Protocol((Rest(60.0), Loop((Impedance(),), 2), ConstantCurrent(-0.2, until_voltage_V=2.5)))


def request(**changes):
    return RunRequest(**{"key": "k", "channel": "1", "candidate": Candidate({"c1": 2.0}), "cell": CELL, "protocol": CYCLE,
                         "max_cycles": 100, **changes})  # fmt: skip


def spectra_and_cycles(protocol):
    """For each check-up of a program, the cycles before it and whether it has a spectrum; and the cycles after the last."""
    found, cycles, spectrum = [], 0, False
    for step in protocol.walk():
        spectrum = spectrum or isinstance(step, Impedance)
        if step == CHECKUP.steps[-1]:
            found.append((cycles, spectrum))
            cycles, spectrum = 0, False
        cycles += step == CYCLE.steps[-1]
    return found, cycles


def test_requests_of_earlier_versions_keep_their_hash_and_stay_readable():
    """A lab upgraded in mid-campaign finds its tests again: fields added since are not hashed at their defaults."""
    assert request().content_sha256 == "80ed7201fb22a32ec327ebf8ddca1e09b0f88b3edd115a5e734ecbb059265e94"
    plain = to_plain(request())
    del plain["impedance_every_checkups"]
    assert from_plain(RunRequest, plain) == request()
    assert request(impedance_every_checkups=2).content_sha256 != request().content_sha256


@pytest.mark.parametrize(
    ("every", "measured"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (3, [0, 3, 6]), (5, [0, 5]), (9, [0])]
)
def test_a_program_measures_spectra_as_often_as_asked(every, measured):
    """Seven check-ups, ten cycles before each; the last cycles come at the end."""
    made = request(checkup=CHECKUP, checkup_every_cycles=10, max_cycles=74, impedance_every_checkups=every).program()
    found, left = spectra_and_cycles(made)
    assert [cycles for cycles, _ in found] == [10] * 7
    assert [i for i, (_, spectrum) in enumerate(found) if spectrum] == measured
    assert left == 4


def test_a_program_without_check_ups_is_cycles():
    """Nothing but the loop."""
    assert request().program().steps == (Loop(CYCLE.steps, 100),)


def test_a_cadence_below_one_is_refused():
    """By name."""
    with pytest.raises(SpecError, match="impedance_every_checkups"):
        request(impedance_every_checkups=0)
