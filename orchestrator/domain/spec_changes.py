"""What differs between two versions of a spec, field by field, in words and as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.value import to_plain

_LONGEST_SHOWN = 160
_UNSAID: tuple[Any, ...] = (None, {}, [])


@dataclass(frozen=True)
class Change:
    """One difference between two versions of a spec.

    Attributes:
        where: the field, entries of lists by name: `constraints.temperature_max_degC.upper`.
        before, after: plain data; None where there is none.
    """

    where: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.where}: {_shown(self.after)} (new)"
        return f"{self.where}: {_shown(self.before)} -> {'removed' if self.after is None else _shown(self.after)}"

    def to_json(self) -> dict[str, Any]:
        """The change as plain data."""
        return {"where": self.where, "before": self.before, "after": self.after}


def differences(before: CampaignSpec, after: CampaignSpec) -> Iterator[Change]:
    """What differs between two specs, field by field."""
    old, new = _named(to_plain(before)), _named(to_plain(after))
    yield from _differences("", old, new)


def _named(plain: dict[str, Any]) -> dict[str, Any]:
    """A spec's plain data with its lists of named entries as tables by name."""
    space = dict(plain["space"])
    if "rows" in space:
        space["rows"] = {str(row.get("id", f"row{i}")): row for i, row in enumerate(space["rows"])}
    else:
        space["parameters"] = {p["name"]: p for p in space["parameters"]}
    named = {"objectives": "metric", "constraints": "metric", "cyclers": "name"}
    lists = {key: {entry[name]: entry for entry in plain[key]} for key, name in named.items()}
    return {**plain, **lists, "space": space}


def _differences(where: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(f"{where}.{key}" if where else key, old.get(key), new.get(key))
    elif old != new:
        yield Change(where, old, new)


def _shown(given: Any) -> str:
    if isinstance(given, Mapping):
        given = {key: entry for key, entry in given.items() if entry not in _UNSAID and entry is not False}
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
