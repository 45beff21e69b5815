"""What an injected fault of the cell does to a cell's age; sudden, at the beginning of a cycle.

    capacity loss      N <- N (1 - share)                      lithium that a crack or a side reaction took at once
    plating knee       plating <- factor x plating             from then on
    internal short     leak <- leak + 1/resistance             a dendrite; shorts in parallel add up

The short discharges the cell through its own resistance while it rests and cycles; that charge is no lithium lost, so the
age keeps its `lithium_Ah`, and the cell model draws the current.
"""

from __future__ import annotations

from dataclasses import replace

from adapters.peers.injected_faults import FaultKind, InjectedFault
from adapters.simulated.ageing import Age


def struck(age: Age, fault: InjectedFault) -> Age:
    """The age of a cell once a fault has struck it; faults of a sensor or of a device leave it as it is.

    Args:
        age: the cell at the beginning of the cycle in which the fault strikes.
        fault: its `magnitude` is a share (1), a factor (1) or a resistance (ohm), by kind.

    Raises:
        ValueError: a magnitude that no cell can have.
    """
    size = fault.magnitude
    if fault.kind is FaultKind.CAPACITY_LOSS:
        _check(0 <= size < 1, fault, "a share of the lithium in [0, 1)")
        return replace(age, lithium_Ah=age.lithium_Ah * (1 - size))
    if fault.kind is FaultKind.PLATING_KNEE:
        _check(size >= 0, fault, "a factor >= 0")
        before = age.plating_before_Ah
        # The pace extrapolates plating from the check-up before, which this fault makes comparable with the next one.
        return replace(age, plating_factor=age.plating_factor * size, plating_before_Ah=None if before is None else before * size)
    if fault.kind is FaultKind.INTERNAL_SHORT:
        _check(size > 0, fault, "a resistance > 0 ohm")
        return replace(age, leak_S=age.leak_S + 1 / size)
    return age


def self_discharge_Ah(age: Age, voltage_V: float, hours: float) -> float:
    """Charge that the internal short takes out of a cell held or resting near a voltage, Ah."""
    return age.leak_S * voltage_V * hours


def _check(holds: bool, fault: InjectedFault, wanted: str) -> None:
    if not holds:
        raise ValueError(f"the size of a {fault.kind.value} must be {wanted} (got {fault.magnitude:g}).")
