"""The metadata of an exported folder as an RO-Crate 1.1: every file, every column, who made it and from what.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): a flat JSON-LD graph of entities that refer to one another by `@id`. The descriptor
`ro-crate-metadata.json` is about the root dataset `./`, which has every file as a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.errors import Fault, SpecError

METADATA_FILE = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_AUTHOR = re.compile(r"^\s*(?P<name>[^<>]+?)\s*(?:<(?P<url>https?://[^<>\s]+)>)?\s*$")
_SPDX = "https://spdx.org/licenses/"
Entity = dict[str, Any]

# What a name's last part says of its unit: UCUM codes, as schema.org's `unitCode` takes them.
UNIT_CODES = {
    "second": "s", "volt": "V", "ampere": "A", "ah": "A.h", "wh": "W.h", "watt": "W", "celsius": "Cel", "ohm": "Ohm",
    "hertz": "Hz", "degree": "deg", "pa": "Pa", "h": "h", "Ah": "A.h", "Wh": "W.h", "V": "V", "min": "min", "degC": "Cel",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of an exported table.

    Attributes:
        name: its header.
        description: what it holds.
        unit: in words, empty where it has none.
    """

    name: str
    description: str = ""
    unit: str = ""


@dataclass(frozen=True)
class CrateFile:
    """One file of an exported folder.

    Attributes:
        path: relative to the folder, with slashes.
        encoding: its MIME type.
        size_bytes: its length.
        sha256: of its bytes.
        name: what it is, in a few words.
        columns: of a table; empty for anything else.
    """

    path: str
    encoding: str
    size_bytes: int
    sha256: str
    name: str
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class CrateCampaign:
    """What a crate says of its campaign.

    Attributes:
        name: the campaign's.
        description: in a sentence.
        published: ISO date or time of the last change of what is described.
        started, ended: ISO times; None where not known.
        status: as the store has it.
        software: name and version of programs that took part.
        synthetic: whether the numbers come from a model.
        licence: an URL, an SPDX name or words; None where none was given.
        authors: `Name` or `Name <https://orcid.org/...>`.
    """

    name: str
    description: str
    published: str
    started: str | None
    ended: str | None
    status: str
    software: Mapping[str, str]
    synthetic: bool
    licence: str | None = None
    authors: tuple[str, ...] = ()


def ro_crate(campaign: CrateCampaign, files: Iterable[CrateFile]) -> dict[str, Any]:
    """The content of `ro-crate-metadata.json`.

    Args:
        campaign: whose export it is.
        files: every file of the folder but the metadata file itself.

    Raises:
        SpecError: if an author is not understood.
    """
    listed = sorted(files, key=lambda file: file.path)
    people = [_person(text, number) for number, text in enumerate(campaign.authors, 1)]
    licence = _licence(campaign.licence)
    programs = [_software(name, version) for name, version in sorted(campaign.software.items())]
    columns: dict[str, Entity] = {}
    entities = [_file(file, columns) for file in listed]
    graph = [
        _descriptor(),
        _root(campaign, listed, people, licence),
        _action(campaign, listed, people, programs),
        *programs,
        *people,
        *([licence] if licence else []),
        *entities,
        *(columns[key] for key in sorted(columns)),
    ]
    return {"@context": _CONTEXT, "@graph": graph}


def _descriptor() -> Entity:
    return {"@id": METADATA_FILE, "@type": "CreativeWork", "conformsTo": {"@id": _PROFILE}, "about": {"@id": "./"}}


def _root(campaign: CrateCampaign, files: list[CrateFile], people: list[Entity], licence: Entity | None) -> Entity:
    said = "No licence was stated: all rights stay with the authors; ask them before you use it."
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Battery campaign '{campaign.name}'",
        "description": campaign.description,
        "datePublished": campaign.published,
        "license": {"@id": licence["@id"]} if licence else said,
        "hasPart": [{"@id": iri(file.path)} for file in files],
        "mentions": [{"@id": "#campaign"}],
        "keywords": "battery, cycling, Battery Data Format" + (", synthetic" if campaign.synthetic else ""),
    }
    if people:
        root["author"] = [{"@id": person["@id"]} for person in people]
    return root


def _action(campaign: CrateCampaign, files: list[CrateFile], people: list[Entity], programs: list[Entity]) -> Entity:
    ended = {"completed": "CompletedActionStatus", "stopped": "CompletedActionStatus"}
    action: Entity = {
        "@id": "#campaign",
        "@type": "CreateAction",
        "name": campaign.name,
        "description": f"status: {campaign.status}",
        "actionStatus": {"@id": f"http://schema.org/{ended.get(campaign.status, 'ActiveActionStatus')}"},
        "instrument": [{"@id": program["@id"]} for program in programs],
        "object": [{"@id": iri(file.path)} for file in files if file.path.startswith("specs/")],
        "result": [{"@id": iri(file.path)} for file in files if not file.path.startswith("specs/")],
    }
    for key, given in (("startTime", campaign.started), ("endTime", campaign.ended)):
        if given:
            action[key] = given
    if people:
        action["agent"] = [{"@id": person["@id"]} for person in people]
    return action


def _file(file: CrateFile, columns: dict[str, Entity]) -> Entity:
    entity: Entity = {
        "@id": iri(file.path),
        "@type": "File",
        "name": file.name,
        "encodingFormat": file.encoding,
        "contentSize": str(file.size_bytes),
        "sha256": file.sha256,
    }
    if file.columns:
        entity["variableMeasured"] = [{"@id": _column(column, columns)} for column in file.columns]
    return entity


def _column(column: Column, columns: dict[str, Entity]) -> str:
    """The entity of a column; tables whose columns mean the same share one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", column.name)
    key, number = f"#column-{plain}", 2
    entity: Entity = {"@type": "PropertyValue", "name": column.name}
    if column.description:
        entity["description"] = column.description
    if column.unit:
        entity["unitText"] = column.unit
        if code := UNIT_CODES.get(column.unit):
            entity["unitCode"] = code
    while key in columns and {**columns[key], "@id": ""} != {**entity, "@id": ""}:
        key, number = f"#column-{plain}-{number}", number + 1
    columns[key] = {"@id": key, **entity}
    return key


def _person(text: str, number: int) -> Entity:
    found = _AUTHOR.match(text)
    if found is None:
        raise SpecError(Fault("--author", f"'{text}' is not understood.", 'Write "Name" or "Name <https://orcid.org/...>".'))
    return {"@id": found["url"] or f"#author-{number}", "@type": "Person", "name": found["name"]}


def _licence(text: str | None) -> Entity | None:
    if text is None or not text.strip():
        return None
    said = text.strip()
    if re.match(r"https?://\S+$", said):
        return {"@id": said, "@type": "CreativeWork", "name": said}
    if re.match(r"[A-Za-z0-9.+-]+$", said):
        return {"@id": _SPDX + said, "@type": "CreativeWork", "name": said}
    return {"@id": "#licence", "@type": "CreativeWork", "name": said}


def _software(name: str, version: str) -> Entity:
    return {
        "@id": f"#software-{name}",
        "@type": "SoftwareApplication",
        "name": name,
        "version": version,
        "softwareVersion": version,
    }


def iri(path: str) -> str:
    """A file's path as an `@id`: percent-encoded where an IRI must be."""
    from urllib.parse import quote

    return quote(path, safe="/._-~")
