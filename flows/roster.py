"""Which cyclers a lab has, and what time it is there, known without the database: what an emergency stop starts from.

`cyclers.json` in the lab's folder names, by campaign, the cyclers with kind and options as in the spec; those given to
the lab as Python objects by name alone. `lab_time.json` holds lab time where that is not the system's.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.lab_folder import DATABASE_FILE, write_whole
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.clock import Clock, SystemClock, VirtualClock
from orchestrator.domain.errors import SpecError
from orchestrator.domain.value import from_plain, to_plain

_ROSTER, _TIME, REAL = "cyclers.json", "lab_time.json", "real"
_BUSY_S = 0.5
_SPECS_OF_OPEN_CAMPAIGNS = """
SELECT campaigns.name, spec_versions.spec FROM campaigns JOIN spec_versions
ON spec_versions.campaign_id = campaigns.id AND spec_versions.version = campaigns.spec_version
WHERE campaigns.status NOT IN ('completed', 'stopped')"""


@dataclass(frozen=True)
class Roster:
    """The cyclers of a lab.

    Attributes:
        named: as specs name them; one name may stand there with several settings.
        objects: names of those that some program has given to the lab as Python objects.
    """

    named: tuple[CyclerSpec, ...] = ()
    objects: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Every name once."""
        return list(dict.fromkeys([*(spec.name for spec in self.named), *self.objects]))


def note_cyclers(
    folder: Path, campaign: str, cyclers: Iterable[CyclerSpec | str], *, ended: Collection[str], real_time: bool
) -> None:
    """Write down the cyclers of a campaign, specs or mere names, and forget those of campaigns that have ended.

    Args:
        folder: the lab's.
        campaign: its name.
        cyclers: its cyclers.
        ended: campaigns that have ended.
        real_time: whether lab time is the system's; otherwise `note_lab_time` keeps it.

    Raises:
        OSError: the folder cannot be written.
    """
    mine = [{"name": c, "kind": None} if isinstance(c, str) else to_plain(c) for c in cyclers]
    if _with(_content(folder), campaign, mine, ended, real_time) == _content(folder):
        return
    with (folder / f".{_ROSTER}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = _with(_content(folder), campaign, mine, ended, real_time)
        write_whole(folder / _ROSTER, json.dumps(now, indent=1))


def read_roster(folder: Path) -> Roster | None:
    """The lab's cyclers by its own file; where that is missing or damaged, by the specs in its SQLite file; else None."""
    content = _content(folder)
    campaigns = _campaigns_in_database(folder / DATABASE_FILE) if content is None else content["campaigns"]
    return None if campaigns is None else _roster(campaigns)


def note_lab_time(folder: Path, clock: Clock) -> None:
    """Keep lab time for programs that cannot know it otherwise; real time needs no keeping.

    Raises:
        OSError: the folder cannot be written.
    """
    if not isinstance(clock, SystemClock):
        write_whole(folder / _TIME, json.dumps({"lab_time_h": clock.now_h()}), durable=False)
    elif (folder / _TIME).exists():
        (folder / _TIME).unlink(missing_ok=True)


def noted_clock(folder: Path) -> Clock | None:
    """The lab's time as far as it was noted, or as its log has it; None if neither can be read."""
    try:
        return VirtualClock(float(json.loads((folder / _TIME).read_text())["lab_time_h"]))
    except (OSError, ValueError, KeyError, TypeError):
        if (_content(folder) or {}).get("lab_time") == REAL:
            return SystemClock()
    latest = _in_database(folder / DATABASE_FILE, "SELECT max(lab_time_h) FROM events")
    return VirtualClock(float(latest[0][0])) if latest and latest[0][0] is not None else None


def _with(
    before: dict[str, Any] | None, campaign: str, mine: list[dict[str, Any]], ended: Collection[str], real_time: bool
) -> dict[str, Any]:
    """A roster with a campaign's cyclers, and without those of campaigns that have ended."""
    kept = {name: plain for name, plain in (before or {}).get("campaigns", {}).items() if name not in ended}
    return {"lab_time": REAL if real_time else "noted", "campaigns": {**kept, campaign: mine}}


def _roster(campaigns: dict[str, list[dict[str, Any]]]) -> Roster:
    named: dict[str, CyclerSpec] = {}
    objects: list[str] = []
    for plain in (cycler for cyclers in campaigns.values() for cycler in cyclers):
        if plain.get("kind") is None:
            objects.append(str(plain.get("name")))
        else:
            named[json.dumps(plain, sort_keys=True)] = from_plain(CyclerSpec, plain)
    return Roster(tuple(named.values()), tuple(dict.fromkeys(objects)))


def _content(folder: Path) -> dict[str, Any] | None:
    """The roster, if it is whole."""
    try:
        content = dict(json.loads((folder / _ROSTER).read_text()))
        _roster(content["campaigns"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpecError):
        return None
    return content


def _campaigns_in_database(file: Path) -> dict[str, list[dict[str, Any]]] | None:
    """The cyclers that specs in an SQLite lab name."""
    found = _in_database(file, _SPECS_OF_OPEN_CAMPAIGNS)
    return None if found is None else {name: json.loads(spec).get("cyclers") or _default() for name, spec in found}


def _in_database(file: Path, query: str) -> list[Any] | None:
    """What an SQLite lab answers, asked in passing: nothing is waited for long, nothing is changed; None if it does not."""
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.Error:
        return None


def _default() -> list[dict[str, Any]]:
    from flows.cyclers import DEFAULT_CYCLERS

    return [to_plain(spec) for spec in DEFAULT_CYCLERS]
