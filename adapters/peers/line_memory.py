"""Which faults of an instant have struck on a line: in a file, if the line has a folder, else as long as the object lives."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from adapters.peers.injected_faults import InjectedFault
from adapters.peers.line_file import LineFile
from orchestrator.domain.value import from_plain, to_plain


class LineMemory:
    """What has struck on the line to one cycler; processes that share the folder share it.

    Args:
        cycler: its name; others may use the folder too.
        path: the file, made when the first fault strikes; None keeps nothing.
    """

    def __init__(self, cycler: str, path: Path | None) -> None:
        self._cycler, self._path, self._struck = cycler, path, list[InjectedFault]()
        self._file = None if path is None else LineFile(path)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process from striking. Threads must be kept apart by the caller."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def left(self, plan: tuple[InjectedFault, ...]) -> list[InjectedFault]:
        """The faults of a plan that have not struck yet."""
        new = [] if self._file is None else self._file.new()
        self._struck += [from_plain(InjectedFault, line["fault"]) for line in new if line["cycler"] == self._cycler]
        left = list(plan)
        for fault in self._struck:
            if fault in left:
                left.remove(fault)
        return left

    def add(self, fault: InjectedFault) -> None:
        """Note that a fault strikes, durably. Hold `alone`."""
        if self._file is None:
            self._struck.append(fault)
        else:
            self._file.add({"cycler": self._cycler, "fault": to_plain(fault)})
