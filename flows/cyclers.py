"""The cyclers a spec names, made from the entry points of `voltloop.cyclers`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.cycler import Cycler
from orchestrator.domain.errors import Fault, SpecError, VoltloopError

CYCLERS_GROUP = "voltloop.cyclers"
DEFAULT_CYCLERS = (CyclerSpec("sim", "simulated", {"channels": 8}),)


@cache
def _known() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=CYCLERS_GROUP)}


def make_cycler(spec: CyclerSpec) -> Cycler:
    """A cycler as a spec names it; `spec.options` are its constructor's keywords.

    Raises:
        SpecError: unknown kind, unknown or missing keyword, or a value that the constructor refuses.
    """
    if spec.kind not in _known():
        raise SpecError(Fault("kind", f"'{spec.kind}' is no kind of cycler.", f"Known: {', '.join(sorted(_known()))}."))
    try:
        make: Callable[..., Cycler] = _known()[spec.kind].load()
    except (ImportError, AttributeError) as error:
        raise SpecError(Fault("kind", f"the {spec.kind} cycler cannot be loaded: {error}.", "Install what it needs.")) from None
    signature = inspect.signature(make)
    options = {**spec.options, **({"name": spec.name} if "name" in signature.parameters else {})}
    faults = _keyword_faults(signature, options, spec.kind)
    if faults:
        raise SpecError(faults)
    try:
        return make(**options)
    except (TypeError, ValueError, OSError, VoltloopError) as error:
        raise (
            error if isinstance(error, SpecError) else SpecError(f"the cycler '{spec.name}' refuses its settings: {error}.")
        ) from None


def _keyword_faults(signature: inspect.Signature, options: dict[str, Any], kind: str) -> list[Fault]:
    parameters = signature.parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return []
    known = ", ".join(parameters)
    faults = [Fault(k, f"is not a setting of a {kind} cycler.", f"Known: {known}.") for k in options if k not in parameters]
    needed = [n for n, p in parameters.items() if p.default is p.empty and n not in options]
    return faults + [Fault(n, "is missing.", f"A {kind} cycler needs {n}.") for n in needed]


def make_cyclers(specs: Iterable[CyclerSpec]) -> list[Cycler]:
    """The cyclers of a spec; without any, a simulated lab of eight channels."""
    return [make_cycler(spec) for spec in tuple(specs) or DEFAULT_CYCLERS]


def cycler_faults(specs: Iterable[CyclerSpec]) -> tuple[list[Cycler], list[Fault]]:
    """The cyclers that could be made, and why others could not."""
    made: list[Cycler] = []
    faults: list[Fault] = []
    for i, spec in enumerate(tuple(specs) or DEFAULT_CYCLERS):
        try:
            made.append(make_cycler(spec))
        except SpecError as error:
            faults += [fault.under(f"cyclers[{i}]") for fault in error.faults]
    return made, faults
