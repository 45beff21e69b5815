"""The latch of the emergency stop: like a red mushroom button it stays in until a person has looked and pulls it out.

One small file per stopped cycler in the lab's folder, `estop/latched/<cycler>.json`; beside them `estop/whole_lab.json` if the
whole lab was stopped, which holds for cyclers that a campaign brings in later, too. While it is there no tick of any process
starts anything on that cycler. It needs no database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from flows.lab_folder import make_durable, write_whole

LIFT = "when it is safe again, lift it with `voltloop estop --lift [--cycler NAME]`"
EMERGENCY = "emergency stop of"  # how every message about one begins
WHOLE_LAB = "*"  # the name under which every cycler of the lab is meant


@dataclass(frozen=True)
class StopOrder:
    """One press of the button.

    Attributes:
        id: of this order, never used again; sorts by time.
        at: the system's time, ISO 8601, UTC.
        by: who asked.
        reason: why, in their words.
        lab_time_h: lab time of it, hours, where it was known.
    """

    id: str
    at: str
    by: str
    reason: str
    lab_time_h: float | None = None

    def words(self, cycler: str) -> str:
        """What happened to a cycler, in one clause."""
        when = f"{datetime.fromisoformat(self.at):%Y-%m-%d %H:%M:%S} UTC" if self.at else "a time not known"
        return f"{EMERGENCY} {cycler} at {when} by {self.by}: {self.reason}"


class EmergencyLatch:
    """Which cyclers of a lab are stopped and must stay so.

    Args:
        folder: the lab's.
    """

    def __init__(self, folder: Path) -> None:
        self._whole = folder / "estop" / "whole_lab.json"
        self._folder = folder / "estop" / "latched"

    def reason_for(self, cycler: str) -> str | None:
        """Why nothing may be started on a cycler, in words; None if it is not latched. Two looks at the file system.

        A latch that is there but cannot be read holds all the same.
        """
        order = self.order_for(cycler)
        return None if order is None else order.words(cycler)

    def order_for(self, cycler: str) -> StopOrder | None:
        """The order that has latched a cycler; see `reason_for`."""
        for path in (self._file(cycler), self._whole):
            try:
                return _read(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError) as error:
                return StopOrder("", "", "somebody", f"the latch '{path}' cannot be read ({error})")
        return None

    def latched(self) -> dict[str, str]:
        """What each latch says, by cycler; a latch of the whole lab under the name `*`."""
        names = [unquote(path.stem) for path in sorted(self._folder.glob("*.json"))]
        said = {name: self.reason_for(name) or "" for name in names}
        if self._whole.exists():
            said[WHOLE_LAB] = self.reason_for("every cycler") or ""
        return said

    def set(self, order: StopOrder, cyclers: Iterable[str], *, whole_lab: bool) -> list[Path]:
        """Latch these cyclers, and the whole lab if asked: seen by everybody at once, and after `make_durable` for good.

        A cycler that is latched already keeps its first order.

        Returns:
            Files and folders that are to be made durable.

        Raises:
            OSError: a latch cannot be written.
        """
        paths = [*map(self._file, cyclers), *((self._whole,) if whole_lab else ())]
        for path in paths:
            if not path.exists():
                write_whole(path, json.dumps(asdict(order)), durable=False)
        return [*paths, *{path.parent for path in paths}, self._whole.parent]

    def lift(self, cycler: str | None = None) -> list[str]:
        """Take the latch off a cycler, or every latch, and name what was latched, `*` for the whole lab.

        With one cycler the others stay latched each by itself, and the lab as a whole no longer.

        Raises:
            OSError: it cannot be removed; it holds.
        """
        lifted = [name for name in self.latched() if cycler in (None, name)]
        for path in (*(self._file(name) for name in lifted if name != WHOLE_LAB), *((self._whole,) if lifted else ())):
            path.unlink(missing_ok=True)
            if path.parent.exists():
                make_durable(path.parent)
        return lifted

    def _file(self, cycler: str) -> Path:
        return self._folder / f"{quote(cycler, safe='')}.json"


def _read(path: Path) -> StopOrder:
    order = StopOrder(**json.loads(path.read_text()))
    datetime.fromisoformat(order.at)
    return order
