"""Points that keep every linear constraint, by mixed-integer programming: whether there is any, and the outermost ones.

A choice enters by an indicator per value. A rule that holds only under some choices is relaxed elsewhere by as much as its
form can reach inside the bounds (big M).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.linear_constraint import Rule
from orchestrator.domain.parameters import ChoiceParameter, InputParameter, IntegerParameter

Array = NDArray[np.float64]
Values = dict[str, ParameterValue]


class FeasibleProgram:
    """The points of a space as a mixed-integer program.

    Args:
        inputs: what a candidate states.
        rules: the linear constraints over them.
        present: what is held, by name.
    """

    def __init__(self, inputs: Sequence[InputParameter], rules: Sequence[Rule], present: Mapping[str, ParameterValue]) -> None:
        self.inputs, self.present = tuple(inputs), present
        ends = np.cumsum([len(p.values) if isinstance(p, ChoiceParameter) else 1 for p in self.inputs])
        starts = [0, *ends[:-1]]
        self._slots = {p.name: slice(int(a), int(e)) for p, a, e in zip(self.inputs, starts, ends, strict=True)}
        self._size = int(ends[-1])
        self._whole = np.concatenate(
            [np.full(self._width(p), isinstance(p, (ChoiceParameter, IntegerParameter)), dtype=int) for p in self.inputs]
        )
        self._rows = [row for rule in rules for row in self._rows_of(rule)]
        self._rows += [self._one_value(p) for p in self.inputs if isinstance(p, ChoiceParameter)]

    def _width(self, parameter: InputParameter) -> int:
        slot = self._slots[parameter.name]
        return slot.stop - slot.start

    def _rows_of(self, rule: Rule) -> list[tuple[Array, float, float]]:
        """A rule as rows `low <= row @ x <= high`."""
        row = np.zeros(self._size)
        for parameter in self.inputs:
            if parameter.name in rule.form.coefficients:
                row[self._slots[parameter.name]] = rule.form.coefficients[parameter.name] * _numbers(parameter)
        bound = -rule.form.constant
        if not rule.needs:
            return [(row, bound if rule.equality else -np.inf, bound)]
        rows = [self._relaxed(row, bound, rule)]
        return [*rows, self._relaxed(-row, -bound, rule)] if rule.equality else rows

    def _relaxed(self, row: Array, bound: float, rule: Rule) -> tuple[Array, float, float]:
        low, high = self._bounds({})
        slack = max(0.0, float(np.maximum(row * low, row * high).sum()) - bound)
        relaxed = row.copy()
        for gate, allowed in rule.needs.items():
            values = next(p.values for p in self.inputs if p.name == gate and isinstance(p, ChoiceParameter))
            relaxed[self._slots[gate]] += slack * np.array([v in allowed for v in values])
        return relaxed, -np.inf, bound + slack * len(rule.needs)

    def _one_value(self, parameter: InputParameter) -> tuple[Array, float, float]:
        row = np.zeros(self._size)
        row[self._slots[parameter.name]] = 1.0
        return row, 1.0, 1.0

    def _bounds(self, fixed: Mapping[str, ParameterValue]) -> tuple[Array, Array]:
        low, high = np.zeros(self._size), np.ones(self._size)
        held = {**self.present, **fixed}
        for parameter in self.inputs:
            slot = self._slots[parameter.name]
            if isinstance(parameter, ChoiceParameter):
                if parameter.name in held:
                    low[slot] = high[slot] = [float(v == held[parameter.name]) for v in parameter.values]
            elif parameter.name in held:
                low[slot] = high[slot] = float(held[parameter.name])
            else:
                low[slot], high[slot] = parameter.lower, parameter.upper
        return low, high

    def point(
        self,
        cost: Mapping[str, float] | None = None,
        fixed: Mapping[str, ParameterValue] | None = None,
        near: Mapping[str, ParameterValue] | None = None,
    ) -> Values | None:
        """A feasible point of least cost, a value for every input, whether or not it exists there; None if there is none.

        Args:
            cost: by input: weight of its place between its bounds (of a choice: of a wave over its values).
            fixed: values that must be kept.
            near: whole numbers and choices to come as near to as the rules let.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp  # loading these costs a second; most spaces are boxes

        low, high = self._bounds(fixed or {})
        objective, extra = self._objective(cost or {}), self._distances(near or {})
        away = len(extra)
        rows = [(np.concatenate([row, np.zeros(away)]), a, b) for row, a, b in self._rows]
        for k, (slot, target) in enumerate(extra):
            for sign in (1.0, -1.0):
                row = np.zeros(self._size + away)
                row[slot], row[self._size + k] = sign, -1.0
                rows.append((row, -np.inf, sign * target))
        for parameter in self.inputs:
            if near and isinstance(parameter, ChoiceParameter) and parameter.name in near:
                objective[self._slots[parameter.name]] -= [float(v == near[parameter.name]) for v in parameter.values]
        answer = milp(
            np.concatenate([objective, np.ones(away)]),
            integrality=np.concatenate([self._whole, np.zeros(away, dtype=int)]),
            bounds=Bounds(np.concatenate([low, np.zeros(away)]), np.concatenate([high, np.full(away, np.inf)])),
            constraints=[
                LinearConstraint(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))
            ]
            if rows
            else (),
        )
        return None if answer.x is None else self._read(answer.x)

    def _objective(self, cost: Mapping[str, float]) -> Array:
        objective = np.zeros(self._size)
        for parameter in self.inputs:
            if parameter.name in cost:
                width = 1.0 if isinstance(parameter, ChoiceParameter) else parameter.upper - parameter.lower
                wave = np.cos(np.arange(self._width(parameter)))
                objective[self._slots[parameter.name]] = cost[parameter.name] / width * wave
        # Of wide bounds the weights fall below what the solver takes for nothing.
        return objective / (float(np.abs(objective).max()) or 1.0)

    def _distances(self, near: Mapping[str, ParameterValue]) -> list[tuple[int, float]]:
        """Whole numbers to come near to: where they stand, and what is wanted."""
        whole = [p for p in self.inputs if isinstance(p, IntegerParameter) and p.name in near]
        return [(self._slots[p.name].start, float(near[p.name])) for p in whole]

    def _read(self, x: Array) -> Values:
        values: Values = {}
        for parameter in self.inputs:
            part = x[self._slots[parameter.name]]
            if isinstance(parameter, ChoiceParameter):
                values[parameter.name] = parameter.values[int(np.argmax(part))]
            elif isinstance(parameter, IntegerParameter):
                values[parameter.name] = round(float(part[0]))
            else:
                values[parameter.name] = min(max(float(part[0]), parameter.lower), parameter.upper)
        return values

    def outermost(self) -> Iterable[Values]:
        """Feasible points where each input in turn is least and greatest."""
        for parameter in self.inputs:
            if parameter.name in self.present:
                continue
            if isinstance(parameter, ChoiceParameter):
                points = [self.point(fixed={parameter.name: v}) for v in parameter.values]
            else:
                points = [self.point({parameter.name: sign}) for sign in (1.0, -1.0)]
            yield from (point for point in points if point is not None)


def _numbers(parameter: InputParameter) -> Any:
    """What a parameter's variables count in a sum."""
    return np.array(parameter.values, dtype=float) if isinstance(parameter, ChoiceParameter) else 1.0
