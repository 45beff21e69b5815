"""Specs as TOML files: read whole, every fault reported at once, each with its line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.domain.campaign_spec import (
    Approval,
    Budget,
    CampaignSpec,
    Causal,
    CyclerTable,
    Experiment,
    Prognosis,
    Strategy,
    cross_faults,
)
from orchestrator.domain.candidate import CandidateTable, ParameterValue, read_rows
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.linear_constraint import LinearConstraint, read_constraint
from orchestrator.domain.objectives import Objective, OutcomeConstraint
from orchestrator.domain.parameters import Parameter
from orchestrator.domain.protocol import SafetyLimits
from orchestrator.domain.search_space import SearchSpace
from orchestrator.domain.sharing import Sharing
from orchestrator.domain.space_faults import space_faults
from orchestrator.domain.surrogate_spec import SurrogateSpec
from orchestrator.domain.value import from_plain

DATA_VARIABLE = "VOLTLOOP_DATA_DIR"
_SECTIONS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "strategy": Strategy,
    "prefetch": int,
    "experiment": Experiment,
    "safety_limits": SafetyLimits,
    "budget": Budget,
    "prognosis": Prognosis,
    "approval": Approval,
    "causal": Causal,
    "surrogate": SurrogateSpec,
    "sharing": Sharing,
}
_LISTS: dict[str, Any] = {
    "objectives": Objective,
    "constraints": OutcomeConstraint,
    "safe_seed": dict[str, ParameterValue],
    "cyclers": CyclerTable,
}


Check = Callable[[Mapping[str, Any]], list[Fault]]


def read_spec(path: Path, further: Sequence[Check] = ()) -> CampaignSpec:
    """Read a campaign's spec from a TOML file.

    Args:
        path: the file.
        further: checks of other rooms; each is given the sections that could be read, by name, and returns faults.

    Raises:
        SpecError: with every fault of the file, each with its line and how to mend it.
    """
    if not path.is_file():
        raise SpecError(f"there is no spec file '{path}'. `voltloop init NAME` writes one to start from.")
    text, plain = read_toml(path)
    sections, faults = read_sections({**dict.fromkeys(_LISTS, ()), **plain}, path.parent)
    faults += [Fault(key, "is missing.", f"Give {key}.") for key in ("name", "space", "objectives") if key not in plain]
    faults += all_cross_faults(sections, bool(faults), further)
    if faults:
        raise SpecError(with_lines(faults, text, plain))
    return CampaignSpec(**sections)


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says.

    Raises:
        SpecError: if it cannot be read, is not UTF-8, or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise SpecError(f"'{path}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SpecError(f"'{path}' is not text in UTF-8. A spec is a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"'{path}' is not valid TOML: {error}.") from None


def all_cross_faults(sections: Mapping[str, Any], faulty: bool, further: Sequence[Check]) -> list[Fault]:
    """Faults between sections, and what other rooms find; `faulty` says that some sections could not be read."""
    faults = cross_faults(sections)
    # What a faulty section says is unknown: its default must not be blamed for what the rest would make of it.
    known = {k: v for k, v in sections.items() if k != "space"} if faulty or faults else sections
    return faults + [fault for check in further for fault in check(known)]


def with_lines(faults: Sequence[Fault], text: str, plain: Mapping[str, Any]) -> list[Fault]:
    """Faults with their lines in a file, in the file's order."""
    lines = _lines_by_place(text)
    for name, place in _named_places(plain):
        lines |= {f"space.parameters.{name}{w[len(place) :]}": n for w, n in lines.items() if f"{w}.".startswith(f"{place}.")}
    return sorted((replace(f, line=_line_of(f.where, lines)) for f in faults), key=lambda f: f.line or 0)


def read_sections(plain: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[Fault]]:
    """The sections of a spec that are given, by name, and the faults of those that cannot be read."""
    known = {*_SECTIONS, *_LISTS, "space"}
    faults = [
        Fault(key, "is not a section of a spec.", f"Known: {', '.join(sorted(known))}.") for key in plain if key not in known
    ]
    sections: dict[str, Any] = {}
    for key in plain.keys() & _SECTIONS.keys():
        sections.update((key, value) for value in _attempt(faults, key, from_plain, _SECTIONS[key], plain[key]))
    for key in plain.keys() & _LISTS.keys():
        found = _read_list(key, _LISTS[key], plain[key], folder, faults)
        if found is not None:
            sections[key] = found
    if "space" in plain:
        sections.update(("space", space) for space in _attempt(faults, "space", _read_space, plain["space"], folder))
    return sections, faults


def _attempt(faults: list[Fault], where: str, make: Callable[..., Any], *args: Any) -> list[Any]:
    """What `make` returns, as a list of one; or an empty list, its faults noted under `where`."""
    try:
        return [make(*args)]
    except SpecError as error:
        faults += [_without_class(fault).under(where) for fault in error.faults]
        return []


def _without_class(fault: Fault) -> Fault:
    """A value's own name says nothing in a file: `SearchSpace.constraints[0]` is `constraints[0]`."""
    first, _, rest = fault.where.partition(".")
    return replace(fault, where=rest) if first in ("SearchSpace", "CandidateTable", "LinearConstraint") else fault


def _read_list(key: str, kind: Any, plain: Any, folder: Path, faults: list[Fault]) -> tuple[Any, ...] | None:
    """The list's values, or None if any of them has a fault."""
    if not isinstance(plain, (list, tuple)):
        faults.append(Fault(key, "must be a list.", f"Write [[{key}]] above each entry."))
        return None
    before, values = len(faults), []
    for i, item in enumerate(plain):
        entries = _attempt(faults, f"{key}[{i}]", with_paths, item, folder) if key == "cyclers" else [item]
        for entry in entries:
            values += _attempt(faults, f"{key}[{i}]", from_plain, kind, entry)
    return tuple(values) if len(faults) == before else None


def _read_space(plain: Any, folder: Path) -> SearchSpace | CandidateTable:
    if not isinstance(plain, Mapping):
        raise SpecError(f"must be a section (got {plain!r}). Write [space].")
    if "table" in plain:
        return _read_table(plain, folder)
    unknown = [Fault(k, "is not a field of [space].", "Known: parameters, constraints, table, features.") for k in plain
               if k not in ("parameters", "constraints")]  # fmt: skip
    return _read_parameters(plain.get("parameters", []), plain.get("constraints", []), unknown)


def _read_table(plain: Mapping[str, Any], folder: Path) -> CandidateTable:
    faults = [
        Fault(k, "is not a field of a [space] with a table.", "Known: table, features.")
        for k in plain
        if k not in ("table", "features")
    ]
    if faults:
        raise SpecError(faults)
    rows = read_rows(resolve(str(plain["table"]), folder))
    features = plain.get("features")
    if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
        columns = ", ".join(rows[0])
        raise SpecError(Fault("features", "must list the columns to learn from.", f"Columns: {columns}."))
    return CandidateTable(rows=rows, features=tuple(features))


def _read_parameters(parameters: Any, constraints: Any, faults: list[Fault]) -> SearchSpace:
    if not isinstance(parameters, list):
        raise SpecError(Fault("parameters", "must be a list.", "Write [[space.parameters]] above each parameter."))
    if not isinstance(constraints, list):
        raise SpecError(Fault("constraints", "must be a list of text.", 'Write constraints = ["c1 >= c2"].'))
    sound: list[Any] = []
    bounds: list[LinearConstraint] = []
    kind: Any = Parameter
    for i, item in enumerate(parameters):
        sound += _attempt(faults, f"parameters[{i}]", from_plain, kind, item)
    for i, text in enumerate(constraints):
        bounds += _attempt(faults, f"constraints[{i}]", read_constraint, text)
    if not faults:
        return SearchSpace(tuple(sound), tuple(bounds))
    named = {item.get("name") for item in parameters if isinstance(item, Mapping)}
    if named == {p.name for p in sound}:
        raise SpecError([*faults, *space_faults(sound, bounds)])
    strangers = [(c.text, name) for c in bounds for name in sorted(c.names - named)]
    raise SpecError(
        [*faults, *(Fault("constraints", f"'{text}' names the unknown parameter '{name}'.") for text, name in strangers)]
    )


def resolve(text: str, folder: Path) -> Path:
    """A path as a spec writes it: relative to the spec's folder, or below `$VOLTLOOP_DATA_DIR/`.

    Raises:
        SpecError: if it begins with the variable and no data folder is known.
    """
    if text.startswith(f"${DATA_VARIABLE}/"):
        return data_folder() / text.removeprefix(f"${DATA_VARIABLE}/")
    return (folder / text).resolve()


def data_folder() -> Path:
    """The folder of public datasets: `VOLTLOOP_DATA_DIR`, else `../shared/data` beside a checkout.

    Raises:
        SpecError: if neither is there.
    """
    stated = os.environ.get(DATA_VARIABLE)
    folder = Path(stated) if stated else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        raise SpecError(f"there is no data folder '{folder}'. Set {DATA_VARIABLE} to the folder that holds the public datasets.")
    return folder.resolve()


def with_paths(item: Any, folder: Path) -> Any:
    """A cycler's entry with its table's path made absolute, so that a stored spec can be resumed from anywhere."""
    if not isinstance(item, Mapping):
        return item
    paths = {k: str(resolve(v, folder)) for k, v in item.items() if _is_path(k, v)}
    for key, path in paths.items():
        if key == "table" and not Path(path).is_file():
            raise SpecError(
                Fault(key, f"there is no file '{path}'.", f"Paths are relative to the spec, or begin with ${DATA_VARIABLE}/.")
            )
    return {**item, **paths}


def _is_path(key: str, given: Any) -> bool:
    return isinstance(given, str) and (key == "table" or given.startswith(f"${DATA_VARIABLE}/"))


_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\-\"]+)\s*\]\]?")
_KEY = re.compile(r"\s*([\w\-]+)\s*=")


def _lines_by_place(text: str) -> dict[str, int]:
    """Line number by place (`space.parameters[1].upper`), from headers and keys; values are not parsed."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header[2]
            if header[1] == "[[":
                counts[section] = counts.get(section, -1) + 1
                section = f"{section}[{counts[section]}]"
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault(".".join(filter(None, (section, key[1]))), number)
    return lines


def _named_places(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters by name and by number: a fault between them knows their names."""
    space = plain.get("space")
    listed = space.get("parameters") if isinstance(space, Mapping) else None
    named = enumerate(listed if isinstance(listed, list) else [])
    return [(item["name"], f"space.parameters[{i}]") for i, item in named if isinstance(item, Mapping) and "name" in item]


def _line_of(where: str, lines: Mapping[str, int]) -> int | None:
    """The line of the place, or of the nearest place around it."""
    while where:
        if where in lines:
            return lines[where]
        cut = max(where.rfind("."), where.rfind("["))
        where = where[:cut] if cut > 0 else ""
    return None
