"""Trying a driver rule by rule; the first rule broken is named, with what was seen."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.conformance import running, starting
from adapters.conformance.bench import Bench, BrokenRuleError, LabTime, NotTriedError, close, short_request
from orchestrator.domain.cycler import Cycler, RunRequest
from orchestrator.domain.errors import RequestRefusedError

_TRIALS = (*starting.RULES, *running.RULES)
RULES: dict[str, str] = {rule.__name__: (rule.__doc__ or "").strip() for rule in _TRIALS}
"""What a driver must keep, by the rule's name; in the order tried, each resting on those before."""


class ConformanceError(AssertionError):
    """A driver breaks a rule.

    Attributes:
        rule: its name in `RULES`.
        seen: what was seen instead.
    """

    def __init__(self, rule: str, seen: str) -> None:
        super().__init__(f"{rule}: {RULES[rule]} Seen: {seen}")
        self.rule, self.seen = rule, seen


@dataclass(frozen=True)
class ConformanceReport:
    """What a check found: the rules kept, and those that mean nothing for this cycler with the reason."""

    cycler: str
    kept: tuple[str, ...]
    not_tried: dict[str, str]

    def __str__(self) -> str:
        kept = [f"  kept       {name}: {RULES[name]}" for name in self.kept]
        not_tried = [f"  not tried  {name}: {why}." for name, why in self.not_tried.items()]
        return "\n".join([f"{self.cycler} keeps {len(self.kept)} of {len(RULES)} rules", *kept, *not_tried])


def check_cycler(
    make_cycler: Callable[[], Cycler],
    make_request: Callable[[str, str], RunRequest] = short_request,
    advance: Callable[[float], None] | None = None,
    *,
    step_h: float = 0.05,
    longest_h: float = 1000.0,
    keys: str | None = None,
) -> ConformanceReport:
    """Prove that a driver keeps every rule of `RULES`.

    Every channel must be free, and is given back free. Tests are started, stopped and run to their end: on a real cycler,
    with dummy cells.

    Args:
        make_cycler: gives a driver of the same device each time it is called: what a restarted lab would make.
        make_request: a request of which a run lasts at least several `step_h` and is over within `longest_h`, from its key
            and channel; by default `short_request`.
        advance: lets hours of lab time pass. By default time passes by the driver's `clock` if it has that attribute, by a
            virtual clock if the lab binds it (`LabBound`), else in real time.
        step_h: lab time until the first look at a running test, hours; later looks come ever further apart.
        longest_h: by when a run, stopped or not, has surely ended.
        keys: what the keys begin with; by default at random, since a device never forgets a key.

    Returns:
        The rules kept, and those that mean nothing here.

    Raises:
        ConformanceError: at the first rule broken.
    """
    with tempfile.TemporaryDirectory(prefix="voltloop-conformance-") as folder:
        time = LabTime(Path(folder))

        def make() -> Cycler:
            cycler = make_cycler()
            time.take_in(cycler)
            return cycler

        prefix = keys or f"conformance-{secrets.token_hex(4)}"
        now_h = (lambda: time.now_h) if advance is None else None
        bench = Bench(make, make_request, advance or time.let_pass, step_h, longest_h, prefix, now_h)
        try:
            tried = {rule.__name__: _try(rule, bench) for rule in _TRIALS}
            name = bench.cycler.capabilities.name
        finally:
            close(bench.cycler)
    kept = tuple(rule for rule, why_not in tried.items() if why_not is None)
    return ConformanceReport(name, kept, {rule: why_not for rule, why_not in tried.items() if why_not is not None})


def _try(rule: Callable[[Bench], None], bench: Bench) -> str | None:
    """Try one rule; why it was not tried, or None if it is kept."""
    why_not: str | None = None
    try:
        try:
            rule(bench)
        except NotTriedError as why:
            why_not = str(why)
        bench.clear()
    except Exception as error:
        with suppress(Exception):  # what the rule saw is what counts
            bench.clear()
        raise _broken(rule.__name__, error) from error
    return why_not


def _broken(rule: str, error: Exception) -> ConformanceError:
    if isinstance(error, BrokenRuleError):
        return ConformanceError(error.rule or rule, str(error))
    if isinstance(error, RequestRefusedError):
        return ConformanceError(rule, f"a request was refused: {error} If it does not fit this cycler, give make_request.")
    return ConformanceError(rule, f"{type(error).__name__} was raised: {error}")
