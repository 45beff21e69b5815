"""A partial spec laid over a whole one: tables merge, named entries find their namesakes, and each keeps the place it came from.

What is read from the merged sections is reported at the place in the partial file: `Overlay.place` leads back to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.domain.candidate import ParameterValue
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.parameters import kind_of
from orchestrator.domain.spec_file import with_paths

REMOVE, PAST = "remove", "past"
NEW_CAMPAIGN = "Start a new campaign."
_INDEXED = re.compile(r"\A((?:space\.)?\w+\[\d+\])")


@dataclass
class Overlay:
    """Sections of a spec as they would be after an amendment, in the reader's own form.

    Attributes:
        sections: those that the partial spec names, merged with what stood there.
        faults: what cannot be merged, at places of the partial spec.
        past: by parameter that the partial spec gives one for, the value of earlier trials.
        places: where an entry of a merged list stands in the partial spec; absent for one that it does not name.
    """

    sections: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    past: dict[str, ParameterValue] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def place(self, fault: Fault) -> Fault:
        """A fault of the merged sections at its place in the partial spec; an entry not named there is told by its name."""
        found = _INDEXED.match(fault.where)
        if found is None:
            return fault
        entry, rest = found[1], fault.where[found.end() :]
        return replace(fault, where=self.places.get(entry, self.names.get(entry, entry)) + rest)


def lay_over(whole: Mapping[str, Any], partial: Mapping[str, Any], folder: Path) -> Overlay:
    """The sections of a spec that a partial one names, merged.

    Args:
        whole: the standing spec as plain data.
        partial: as read from TOML. In a table `remove = ["field"]` takes fields out; `remove = true` takes out an entry of
            a list. A parameter that is added gives `past`, the value that earlier trials had.
        folder: paths in the partial spec are relative to it.
    """
    overlay = Overlay()
    for key, given in partial.items():
        if key in _KEYED:
            overlay.sections[key] = _by_name(overlay, key, _KEYED[key], whole.get(key, []), given, folder)
        elif key == "safe_seed":
            overlay.sections[key] = _seeds(overlay, whole.get(key, []), given)
        elif key == "space":
            overlay.sections[key] = _space(overlay, whole["space"], given)
        else:
            overlay.sections[key] = _merged(overlay, key, whole.get(key), given)
    return overlay


# Lists whose entries are told apart by a field.
_KEYED = {"objectives": "metric", "constraints": "metric", "cyclers": "name"}
# Entries that cannot be taken out: why, and what to do instead.
_STAYS = {
    "objectives": ("is what earlier trials were proposed for", NEW_CAMPAIGN),
    "space.parameters": ("is a parameter of every earlier trial", NEW_CAMPAIGN),
    "cyclers": (
        "may have tests that must be followed to their end",
        "Keep new ones off it with `voltloop channels quarantine {name}/CHANNEL`.",
    ),
}


def _merged(overlay: Overlay, where: str, old: Any, new: Any) -> Any:
    """What is given laid over what stood there: tables field by field, all else replaced."""
    if not isinstance(new, Mapping):
        return new
    if not isinstance(old, Mapping):
        old = {}
    kept = {key: given for key, given in old.items() if key not in _removed(overlay, where, old, new)}
    laid = {key: _merged(overlay, f"{where}.{key}", old.get(key), given) for key, given in new.items() if key != REMOVE}
    return {**kept, **laid}


def _removed(overlay: Overlay, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    named = new.get(REMOVE, [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        overlay.faults.append(Fault(f"{where}.{REMOVE}", f"must list fields to take out (got {named!r})."))
        return []
    known = ", ".join(sorted(key for key, given in old.items() if given is not None)) or "nothing"
    overlay.faults += [
        Fault(f"{where}.{REMOVE}", f"'{name}' is not set, so it cannot be removed.", f"Set: {known}.")
        for name in named
        if old.get(name) is None
    ]
    overlay.faults += [
        Fault(f"{where}.{name}", "is removed and given at once.", "Keep one of the two.") for name in named if name in new
    ]
    return named


def _by_name(overlay: Overlay, key: str, field_name: str, old: Sequence[Any], new: Any, folder: Path | None = None) -> Any:
    """A list's entries, those of the same name merged, others added, those with `remove = true` taken out."""
    if not isinstance(new, list):
        return new
    merged: list[Any] = [dict(entry) for entry in old]
    at: list[str | None] = [None] * len(merged)
    index = {entry[field_name]: i for i, entry in enumerate(merged)}
    gone: set[int] = set()
    for j, given in enumerate(new):
        where = f"{key}[{j}]"
        name = given.get(field_name) if isinstance(given, Mapping) else None
        i = index.get(name) if isinstance(name, str) else None
        if i is not None and at[i] is not None:
            overlay.faults.append(Fault(where, f"'{name}' is given twice.", "Keep one."))
        elif isinstance(given, Mapping) and given.get(REMOVE) is True:
            gone |= _taken_out(overlay, key, where, name, [e[field_name] for e in merged])
        else:
            entry = _entry(overlay, key, where, None if i is None else merged[i], given, folder)
            if i is None:
                i = len(merged)
                merged.append(entry)
                at.append(None)
                if isinstance(name, str):
                    index[name] = i
            merged[i] = entry
            at[i] = where
    left = [i for i in range(len(merged)) if i not in gone]
    for position, i in enumerate(left):
        entry, named = f"{key}[{position}]", merged[i].get(field_name) if isinstance(merged[i], Mapping) else None
        overlay.names[entry] = f"{key}.{named}" if named else entry
        if at[i] is not None:
            overlay.places[entry] = str(at[i])
    return [merged[i] for i in left]


def _taken_out(overlay: Overlay, key: str, where: str, name: Any, known: Sequence[str]) -> set[int]:
    if name not in known:
        has = f"There is: {', '.join(known)}." if known else "There is none."
        overlay.faults.append(Fault(where, f"there is no '{name}' to remove.", has))
    elif key in _STAYS:
        why, remedy = _STAYS[key]
        overlay.faults.append(Fault(where, f"cannot be amended: {name} {why}.", remedy.format(name=name)))
    else:
        return {known.index(name)}
    return set()


def _entry(overlay: Overlay, key: str, where: str, old: Any, given: Any, folder: Path | None) -> Any:
    if key == "cyclers" and isinstance(given, Mapping) and folder is not None:
        try:
            given = _gathered(with_paths(given, folder))
        except SpecError as error:
            overlay.faults += [fault.under(where) for fault in error.faults]
    if key == "space.parameters" and old is not None and isinstance(given, Mapping) and _retyped(old, given):
        return given  # that it cannot be is said of it whole, not of fields that the two types do not share
    return _merged(overlay, where, old, given)


def _retyped(old: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return bool({"type", "values", "expression"} & given.keys()) and kind_of(given) != old["type"]


def _gathered(given: Mapping[str, Any]) -> dict[str, Any]:
    """A cycler's entry as it is stored: its constructor's keywords below `options`."""
    own = {k: v for k, v in given.items() if k in ("name", "kind", "options", REMOVE)}
    return {**own, "options": {**given.get("options", {}), **{k: v for k, v in given.items() if k not in own}}}


def _space(overlay: Overlay, old: Mapping[str, Any], given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    if "rows" in old:
        return {"features": list(old["features"]), **given}
    laid = {"parameters": old["parameters"], "constraints": old.get("constraints", []), **given}
    if isinstance(given.get("parameters"), list):
        entries = [_without_past(overlay, entry) for entry in given["parameters"]]
        laid["parameters"] = _by_name(overlay, "space.parameters", "name", old["parameters"], entries)
    return laid


def _without_past(overlay: Overlay, entry: Any) -> Any:
    if not isinstance(entry, Mapping) or PAST not in entry:
        return entry
    overlay.past[str(entry.get("name"))] = entry[PAST]
    return {key: given for key, given in entry.items() if key != PAST}


def _seeds(overlay: Overlay, old: Sequence[Any], new: Any) -> Any:
    """The standing seeds, and those that are new."""
    if not isinstance(new, list):
        return new
    fresh = [(j, seed) for j, seed in enumerate(new) if seed not in old]
    overlay.places |= {f"safe_seed[{len(old) + n}]": f"safe_seed[{j}]" for n, (j, _) in enumerate(fresh)}
    return [*old, *(seed for _, seed in fresh)]
