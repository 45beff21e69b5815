"""How a noun is made: a frozen, validated value that compares by content and travels as JSON.

A value class is written like a dataclass. Wrong input raises `SpecError` naming every faulty field at once; an
instance that exists is valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import field
from functools import cache, wraps
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.dataclasses import rebuild_dataclass

from orchestrator.domain.errors import Fault, SpecError

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=False)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make `cls` a frozen value: fields validated, unknown fields refused, `SpecError` on wrong input."""
    made: Any = pydantic_dataclass(frozen=True, config=_CONFIG)(cls)
    made.__init__ = _raising_spec_error(made.__init__, cls.__name__)
    return made  # type: ignore[no-any-return]


def complete(cls: Any) -> None:
    """Finish a value class that names a type defined after it (a loop of steps that may be loops)."""
    rebuild_dataclass(cls, _parent_namespace_depth=3)
    cls.__init__ = _raising_spec_error(cls.__init__, cls.__name__)


def _raising_spec_error(init: Callable[..., None], name: str) -> Callable[..., None]:
    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        names = list(self.__dataclass_fields__)
        if len(args) > len(names):
            raise SpecError(Fault(name, f"takes at most {len(names)} values (got {len(args)})."))
        try:
            init(self, **dict(zip(names, args, strict=False)), **kwargs)
        except ValidationError as error:
            raise _kind_of_fault(error)(fault.under(name) for fault in faults_of(error)) from None

    return checked


def _kind_of_fault(error: ValidationError) -> type[SpecError]:
    """The class of the one `SpecError` raised inside, or `SpecError` for a mixture."""
    kinds = {type(item.get("ctx", {}).get("error")) for item in error.errors(include_url=False)}
    kind: Any = kinds.pop() if len(kinds) == 1 else SpecError
    return kind if issubclass(kind, SpecError) else SpecError


def faults_of(error: ValidationError) -> list[Fault]:
    """Translate pydantic's report into faults; a `SpecError` raised inside a value keeps its own."""
    faults: list[Fault] = []
    for item in error.errors(include_url=False):
        where = _location(item["loc"])
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            faults += [fault.under(where) for fault in cause.faults]
        else:
            faults.append(_plain_fault(where, item))
    return faults


def _plain_fault(where: str, item: Any) -> Fault:
    got, kind = item.get("input"), item["type"]
    if kind in ("missing", "missing_argument"):
        return Fault(where, "is missing.", f"Give {where.rsplit('.', 1)[-1]}.")
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return Fault(where, f"is not a known field (got {got!r}).", "Remove it or mend its spelling.")
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return Fault(where, f"{message[:1].lower()}{message[1:]} (got {_short(got)}).")


def _short(got: Any) -> str:
    text = repr(got)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _location(loc: tuple[Any, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (part.startswith("function-") or part in _UNION_TAGS):
            text += f".{part}" if text else str(part)
    return text


_UNION_TAGS = frozenset(
    {"range", "integer", "choice", "derived", "context", "SearchSpace", "CandidateTable", "float", "int", "str", "bool"}
)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def to_plain(instance: Any) -> Any:
    """The value as JSON-ready Python (dicts, lists, numbers, strings)."""
    cls: Any = type(instance)
    return _adapter(cls).dump_python(instance, mode="json")


def from_plain(cls: Callable[..., T], plain: Any) -> T:
    """Build a value of `cls` from plain data.

    Raises:
        SpecError: with every fault of the data.
    """
    try:
        return _adapter(cls).validate_python(plain)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise _kind_of_fault(error)(faults_of(error)) from None


def content_hash(plain: Any) -> str:
    """The sha256 of plain data in canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
