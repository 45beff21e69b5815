"""Candidate and cell -> the steps of one ageing cycle, or of a check-up. Each template is an entry point of `voltloop.protocols`.

A template is a function `(candidate, cell) -> Protocol`; the candidate holds the proposed parameters and the spec's
`fixed` ones. Every cycle starts with the discharge, so that its capacity is that of the charge before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.domain.candidate import Candidate, ParameterValue
from orchestrator.domain.cell_design import CellDesign
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.protocol import ConstantCurrent, ConstantVoltage, Impedance, Protocol, Rest, SafetyLimits, Step

_CUT_OFF_RATE_C = 0.02
_LAST_RATE_C = 1.0
_CV_DISCHARGE_S = 1800.0
_CV_CHARGE_S = 3600.0
_REST_S = 300.0
_SHARE_FAST = 0.8
_RECHARGE_RATE_C, _RELAXATION_S, _AMPLITUDE_RATE_C = 1 / 3, 3600.0, 0.05


def multistep_charge(candidate: Candidate, cell: CellDesign) -> Protocol:
    """c1, c2, ... (C-rates), each over an equal share of the charge to 80 % SOC; then 1C and constant voltage.

    A step also ends at the cell's upper voltage. Parameters: `c1`, `c2` ... ; optional `discharge_rate_C` (default 1).
    """
    names = sorted((n for n in candidate.parameters if re.fullmatch(r"[cC]\d+", n)), key=lambda n: int(n[1:]))
    if not names:
        raise SpecError(
            Fault("protocol", "multistep_charge needs parameters c1, c2, ... (C-rates).", "Name them so in the space.")
        )
    rates = [_rate_C(candidate.parameters, n, cell) for n in names]
    share_Ah = _SHARE_FAST * cell.nominal_capacity_Ah / len(rates)
    return _cycle([_charge(cell, rate, share_Ah) for rate in rates], candidate, cell)


def two_step_charge(candidate: Candidate, cell: CellDesign) -> Protocol:
    """Severson's C1(Q1)-C2: `C1` until `Q1_pct` % SOC, `C2` until 80 %, then 1C and constant voltage (Severson 2019, fig. 1)."""
    first, second = (_rate_C(candidate.parameters, n, cell) for n in ("C1", "C2"))
    switch = float(_number(candidate.parameters, "Q1_pct")) / 100
    if not 0 < switch <= _SHARE_FAST:
        raise SpecError(Fault("Q1_pct", f"must be above 0 and at most 80 % (got {100 * switch:g})."))
    steps = [_charge(cell, first, switch * cell.nominal_capacity_Ah)]
    if switch < _SHARE_FAST:
        steps.append(_charge(cell, second, (_SHARE_FAST - switch) * cell.nominal_capacity_Ah))
    return _cycle(steps, candidate, cell)


def cc_cv(candidate: Candidate, cell: CellDesign) -> Protocol:
    """Constant current, then constant voltage. Optional parameters: `charge_rate_C`, `discharge_rate_C` (default 1 each)."""
    rate = _rate_C(candidate.parameters, "charge_rate_C", cell, default=_LAST_RATE_C)
    steps: list[Step] = [ConstantCurrent(cell.current_A(rate), until_voltage_V=cell.max_voltage_V)]
    return Protocol((*_discharge(candidate, cell), *steps, _hold(cell)), _window(cell))


def reference_performance(candidate: Candidate, cell: CellDesign) -> Protocol:
    """A check-up: slow capacity, resistance of a pulse and impedance spectrum at half charge, and the cell full again.

    Charge at C/3 to full (over at once in a full cell), rest, discharge at C/5 to empty: the capacity. Rest, charge half of the
    nominal capacity, rest an hour, discharge at 1C for 10 s: the pulse, after the Battery Test Manual for Electric Vehicles
    (INL/EXT-15-34184). Rest, spectrum from 10 kHz to 10 mHz, charge to full.

    Half charge is counted from empty in nominal capacities, so an aged cell stands at more than half of what it has left.
    Optional parameters: `capacity_rate_C` (0.2), `pulse_rate_C` (1), `pulse_s` (10).
    """
    slow, pulse = (
        _rate_C(candidate.parameters, name, cell, rate) for name, rate in (("capacity_rate_C", 0.2), ("pulse_rate_C", 1.0))
    )
    high, low, recharge_A = cell.max_voltage_V, cell.min_voltage_V, cell.current_A(_RECHARGE_RATE_C)
    full = (ConstantCurrent(recharge_A, until_voltage_V=high), _hold(cell))
    half = ConstantCurrent(recharge_A, until_voltage_V=high, until_capacity_Ah=0.5 * cell.nominal_capacity_Ah)
    pulse_s = float(_number(candidate.parameters, "pulse_s", 10.0))
    steps: tuple[Step, ...] = (
        *full,
        Rest(_RELAXATION_S),
        ConstantCurrent(-cell.current_A(slow), until_voltage_V=low),
        Rest(_REST_S),
        half,
        Rest(_RELAXATION_S),
        ConstantCurrent(-cell.current_A(pulse), until_voltage_V=low, until_duration_s=pulse_s),
        Rest(_REST_S),
        Impedance(amplitude_A=cell.current_A(_AMPLITUDE_RATE_C)),
        *full,
    )
    return Protocol(steps, _window(cell))


def _cycle(fast: list[ConstantCurrent], candidate: Candidate, cell: CellDesign) -> Protocol:
    last = ConstantCurrent(cell.current_A(_LAST_RATE_C), until_voltage_V=cell.max_voltage_V)
    return Protocol((*_discharge(candidate, cell), *fast, last, _hold(cell)), _window(cell))


def _discharge(candidate: Candidate, cell: CellDesign) -> tuple[Step, ...]:
    rate = _rate_C(candidate.parameters, "discharge_rate_C", cell, default=1.0)
    low, cut_off_A = cell.min_voltage_V, cell.current_A(_CUT_OFF_RATE_C)
    return (
        ConstantCurrent(-cell.current_A(rate), until_voltage_V=low),
        ConstantVoltage(low, until_current_A=cut_off_A, until_duration_s=_CV_DISCHARGE_S),
        Rest(_REST_S),
    )


def _charge(cell: CellDesign, rate_C: float, share_Ah: float) -> ConstantCurrent:
    return ConstantCurrent(cell.current_A(rate_C), until_voltage_V=cell.max_voltage_V, until_capacity_Ah=share_Ah)


def _hold(cell: CellDesign) -> ConstantVoltage:
    return ConstantVoltage(cell.max_voltage_V, until_current_A=cell.current_A(_CUT_OFF_RATE_C), until_duration_s=_CV_CHARGE_S)


def _window(cell: CellDesign) -> SafetyLimits:
    """What the maker allows; the spec's limits tighten it."""
    fastest_A = cell.current_A(cell.max_charge_rate_C)
    return SafetyLimits(max_voltage_V=cell.max_voltage_V, min_voltage_V=cell.min_voltage_V, max_current_A=fastest_A)


def _rate_C(parameters: Mapping[str, ParameterValue], name: str, cell: CellDesign, default: float | None = None) -> float:
    rate = float(_number(parameters, name, default))
    if not 0 < rate <= cell.max_charge_rate_C:
        limit = f"0 < {name} <= {cell.max_charge_rate_C:g} C for the cell '{cell.name}'"
        raise SpecError(Fault(name, f"must keep {limit} (got {rate:g} C).", "Narrow the parameter's bounds."))
    return rate


def _number(parameters: Mapping[str, ParameterValue], name: str, default: float | None = None) -> float:
    given = parameters.get(name, default)
    if isinstance(given, (int, float)):
        return given
    got = "is missing" if given is None else f"must be a number (got {given!r})"
    raise SpecError(Fault(name, f"{got}.", f"Add the parameter {name} to the space or to experiment.fixed."))
