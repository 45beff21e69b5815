"""Small arithmetic over parameter names: derived parameters and linear constraints, read without `eval`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import SpecError

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "abs": abs, "min": min, "max": max,
}  # fmt: skip


def parse(expression: str) -> ast.expr:
    """Parse an arithmetic expression.

    Raises:
        SpecError: if it is not one expression of numbers, names, + - * / ** and known functions.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise SpecError(f"'{expression}' is not an expression ({error.msg}). Write for example 'c1 + 2*c2'.") from None
    names_in(tree, expression)
    return tree


def names_in(node: ast.expr, source: str) -> frozenset[str]:
    """The parameter names an expression reads; refuses anything that is not arithmetic."""
    match node:
        case ast.Name(id=name):
            return frozenset({name})
        case ast.Constant(value=int() | float()):
            return frozenset()
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return names_in(operand, source)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return names_in(left, source) | names_in(right, source)
        case ast.Call(func=ast.Name(id=function), args=args, keywords=[]) if function in _FUNCTIONS and args:
            return frozenset().union(*(names_in(arg, source) for arg in args))
    known = ", ".join(_FUNCTIONS)
    raise SpecError(
        f"'{source}' holds '{ast.unparse(node)}', which is not arithmetic. Use numbers, names, + - * / ** and {known}."
    )


def evaluate(node: ast.expr, values: Mapping[str, float]) -> float:
    """The expression's value.

    Raises:
        SpecError: where arithmetic has no answer (division by zero, root of a negative number).
    """
    try:
        result = _evaluate(node, values)
    except (ArithmeticError, ValueError) as error:
        raise SpecError(f"'{ast.unparse(node)}' has no value at {dict(values)}: {error}.") from None
    if isinstance(result, complex) or not math.isfinite(result):
        raise SpecError(f"'{ast.unparse(node)}' is not a finite number at {dict(values)}.")
    return float(result)


def _evaluate(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Name(id=name):
            return float(values[name])
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, values)
        case ast.UnaryOp(operand=operand):
            return _evaluate(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_evaluate(left, values), _evaluate(right, values))
        case ast.Call(func=ast.Name(id=function), args=args):
            return _FUNCTIONS[function](*(_evaluate(arg, values) for arg in args))
    raise AssertionError(f"parse() admitted {ast.dump(node)}")


@dataclass(frozen=True)
class LinearForm:
    """`sum(coefficients[name] * name) + constant`."""

    coefficients: Mapping[str, float]
    constant: float = 0.0

    def plus(self, other: LinearForm, sign: float = 1.0) -> LinearForm:
        """This form plus `sign` times another."""
        names = {**self.coefficients, **other.coefficients}
        total = {n: self.coefficients.get(n, 0.0) + sign * other.coefficients.get(n, 0.0) for n in names}
        return LinearForm({n: c for n, c in total.items() if c}, self.constant + sign * other.constant)

    def times(self, factor: float) -> LinearForm:
        """This form scaled."""
        return LinearForm({n: c * factor for n, c in self.coefficients.items() if c * factor}, self.constant * factor)


def linear_form(node: ast.expr, source: str) -> LinearForm:
    """Read an expression as a linear form.

    Raises:
        SpecError: if it is not linear in its names.
    """
    match node:
        case ast.Name(id=name):
            return LinearForm({name: 1.0})
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return linear_form(operand, source).times(-1.0)
        case ast.UnaryOp(operand=operand):
            return linear_form(operand, source)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return linear_form(left, source).plus(linear_form(right, source))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return linear_form(left, source).plus(linear_form(right, source), -1.0)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _product(linear_form(left, source), linear_form(right, source), source)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            divisor = linear_form(right, source)
            if not divisor.coefficients and divisor.constant:
                return linear_form(left, source).times(1.0 / divisor.constant)
        case _ if not names_in(node, source):
            return LinearForm({}, evaluate(node, {}))
    raise SpecError(f"'{source}' is not linear in its parameters. Write sums of number*parameter.")


def _product(left: LinearForm, right: LinearForm, source: str) -> LinearForm:
    if not left.coefficients:
        return right.times(left.constant)
    if not right.coefficients:
        return left.times(right.constant)
    raise SpecError(f"'{source}' multiplies two parameters. Only sums of number*parameter can bound the space.")
