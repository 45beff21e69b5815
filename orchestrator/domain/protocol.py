"""Charging protocols: steps that always end, inside limits they cannot pass.

A step without an end condition, or one whose own settings could carry the cell past a safety limit, is never
constructed: `Protocol(steps, limits)` checks each step against the limits and names the one at fault. Current is
positive when charging.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator

from orchestrator.domain.errors import Fault, SpecError, UnsafeProtocolError
from orchestrator.domain.value import complete, value


@value
class SafetyLimits:
    """Limits that go with every protocol to the cycler itself; None leaves a quantity to the cycler's own limit."""

    max_voltage_V: float | None = None
    min_voltage_V: float | None = None
    max_temperature_degC: float | None = None
    max_current_A: float | None = None

    def __post_init__(self) -> None:
        low, high = self.min_voltage_V, self.max_voltage_V
        if low is not None and high is not None and low >= high:
            raise SpecError(Fault("min_voltage_V", f"must be below max_voltage_V (got min {low:g}, max {high:g})."))
        if self.max_current_A is not None and self.max_current_A <= 0:
            raise SpecError(Fault("max_current_A", f"must be positive (got {self.max_current_A:g})."))

    def within(self, stricter: SafetyLimits) -> SafetyLimits:
        """The tighter of two sets of limits, quantity by quantity."""

        def tighter(a: float | None, b: float | None, pick: Any) -> float | None:
            return b if a is None else a if b is None else pick(a, b)

        return SafetyLimits(
            max_voltage_V=tighter(self.max_voltage_V, stricter.max_voltage_V, min),
            min_voltage_V=tighter(self.min_voltage_V, stricter.min_voltage_V, max),
            max_temperature_degC=tighter(self.max_temperature_degC, stricter.max_temperature_degC, min),
            max_current_A=tighter(self.max_current_A, stricter.max_current_A, min),
        )

    @property
    def named(self) -> dict[str, float]:
        """The limits that are set, by name."""
        names = ("max_voltage_V", "min_voltage_V", "max_temperature_degC", "max_current_A")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}


def _positive(where: str, given: float | None, *, zero: bool = False) -> list[Fault]:
    if given is None or given > 0 or (zero and given == 0):
        return []
    return [Fault(where, f"must be positive (got {given:g}).")]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise SpecError(faults)


@value
class ConstantCurrent:
    """Hold a current (ampere; positive charges) until the first of its end conditions.

    `until_capacity_Ah` counts the charge passed in this step, `until_duration_s` its time.
    """

    current_A: float
    until_voltage_V: float | None = None
    until_capacity_Ah: float | None = None
    until_duration_s: float | None = None
    kind: Literal["constant_current"] = "constant_current"

    def __post_init__(self) -> None:
        faults = _positive("until_capacity_Ah", self.until_capacity_Ah) + _positive("until_duration_s", self.until_duration_s)
        if self.current_A == 0:
            faults.append(Fault("current_A", "is zero.", "A step without current is a Rest."))
        if self.until_voltage_V is self.until_capacity_Ah is self.until_duration_s is None:
            faults.append(Fault("", "has no end condition.", "Give until_voltage_V, until_capacity_Ah or until_duration_s."))
        _refuse(faults)

    @property
    def charging(self) -> bool:
        """Whether the step charges."""
        return self.current_A > 0

    def limit_faults(self, limits: SafetyLimits) -> list[Fault]:
        """How the step could pass a limit."""
        faults = []
        if limits.max_current_A is not None and abs(self.current_A) > limits.max_current_A * (1 + 1e-9):
            faults.append(
                Fault("current_A", f"{self.current_A:g} A is past the limit max_current_A = {limits.max_current_A:g} A.")
            )
        name, limit = ("max_voltage_V", limits.max_voltage_V) if self.charging else ("min_voltage_V", limits.min_voltage_V)
        if limit is None:
            return faults
        until, verb = self.until_voltage_V, "charges" if self.charging else "discharges"
        if until is None:
            faults.append(Fault("until_voltage_V", f"is missing: the step {verb} on to any voltage, past {name} = {limit:g} V."))
        elif (until > limit) if self.charging else (until < limit):
            faults.append(Fault("until_voltage_V", f"{until:g} V is past the limit {name} = {limit:g} V."))
        return faults


@value
class ConstantVoltage:
    """Hold a voltage until the current's magnitude falls to `until_current_A`, or for `until_duration_s`."""

    voltage_V: float
    until_current_A: float | None = None
    until_duration_s: float | None = None
    kind: Literal["constant_voltage"] = "constant_voltage"

    def __post_init__(self) -> None:
        faults = _positive("until_current_A", self.until_current_A) + _positive("until_duration_s", self.until_duration_s)
        if self.until_current_A is self.until_duration_s is None:
            faults.append(Fault("", "has no end condition.", "Give until_current_A or until_duration_s."))
        _refuse(faults)

    def limit_faults(self, limits: SafetyLimits) -> list[Fault]:
        """How the step could pass a limit."""
        high, low = limits.max_voltage_V, limits.min_voltage_V
        if high is not None and self.voltage_V > high:
            return [Fault("voltage_V", f"{self.voltage_V:g} V is past the limit max_voltage_V = {high:g} V.")]
        if low is not None and self.voltage_V < low:
            return [Fault("voltage_V", f"{self.voltage_V:g} V is past the limit min_voltage_V = {low:g} V.")]
        return []


@value
class Rest:
    """No current for a time."""

    duration_s: float
    kind: Literal["rest"] = "rest"

    def __post_init__(self) -> None:
        _refuse(_positive("duration_s", self.duration_s))

    def limit_faults(self, limits: SafetyLimits) -> list[Fault]:
        """A rest passes no limit."""
        return []


@value
class Impedance:
    """An impedance spectrum at rest, with a small current."""

    min_frequency_Hz: float = 0.01
    max_frequency_Hz: float = 10_000.0
    points_per_decade: int = 5
    amplitude_A: float = 0.05
    kind: Literal["impedance"] = "impedance"

    def __post_init__(self) -> None:
        faults = _positive("min_frequency_Hz", self.min_frequency_Hz) + _positive("points_per_decade", self.points_per_decade)
        faults += _positive("amplitude_A", self.amplitude_A)
        if self.min_frequency_Hz >= self.max_frequency_Hz:
            got = f"{self.min_frequency_Hz:g} and {self.max_frequency_Hz:g}"
            faults.append(Fault("min_frequency_Hz", f"must be below max_frequency_Hz (got {got})."))
        _refuse(faults)

    def limit_faults(self, limits: SafetyLimits) -> list[Fault]:
        """How the step could pass a limit."""
        if limits.max_current_A is not None and self.amplitude_A > limits.max_current_A:
            return [Fault("amplitude_A", f"{self.amplitude_A:g} A is past max_current_A = {limits.max_current_A:g} A.")]
        return []


@value
class Loop:
    """Repeat steps a number of times."""

    steps: tuple[Step, ...]
    times: int
    kind: Literal["loop"] = "loop"

    def __post_init__(self) -> None:
        faults = [] if self.times >= 1 else [Fault("times", f"must be at least 1 (got {self.times}).")]
        if not self.steps:
            faults.append(Fault("steps", "is empty.", "A loop repeats at least one step."))
        _refuse(faults)

    def limit_faults(self, limits: SafetyLimits) -> list[Fault]:
        """How any step inside could pass a limit."""
        return _step_faults(self.steps, limits)


Step = Annotated[ConstantCurrent | ConstantVoltage | Rest | Impedance | Loop, Discriminator("kind")]
complete(Loop)


def _step_faults(steps: tuple[Any, ...], limits: SafetyLimits) -> list[Fault]:
    found = []
    for i, step in enumerate(steps):
        where = f"steps[{i}]"
        found += [replace(f, problem=f"({step.kind}) {f.problem}").under(where) for f in step.limit_faults(limits)]
    return found


@value
class Protocol:
    """Steps in order, and the safety limits that go with them to the cycler.

    Raises:
        UnsafeProtocolError: if any step could pass a limit; every such step is named.
    """

    steps: tuple[Step, ...]
    limits: SafetyLimits = SafetyLimits()

    def __post_init__(self) -> None:
        if not self.steps:
            raise SpecError(Fault("steps", "is empty.", "A protocol needs at least one step."))
        faults = _step_faults(self.steps, self.limits)
        if faults:
            raise UnsafeProtocolError(faults)

    def under(self, limits: SafetyLimits) -> Protocol:
        """The same steps under limits tightened by others; refused if a step could pass one."""
        return Protocol(self.steps, self.limits.within(limits))

    def without_impedance(self) -> tuple[Step, ...]:
        """The steps, impedance spectra left out."""
        return _without_impedance(self.steps)

    def walk(self) -> Iterator[ConstantCurrent | ConstantVoltage | Rest | Impedance]:
        """Every elementary step in the order it runs, loops unrolled."""
        yield from _walk(self.steps)


def _without_impedance(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kept: list[Step] = []
    for step in steps:
        if isinstance(step, Loop):
            inner = _without_impedance(step.steps)
            kept += [Loop(inner, step.times)] if inner else []
        elif not isinstance(step, Impedance):
            kept.append(step)
    return tuple(kept)


def _walk(steps: tuple[Any, ...]) -> Iterator[Any]:
    for step in steps:
        if isinstance(step, Loop):
            for _ in range(step.times):
                yield from _walk(step.steps)
        else:
            yield step
