"""Lab time, injected: the same code runs in real time, accelerated, or in virtual time.

Lab time is counted in hours since the lab's epoch (2000-01-01 UTC for virtual labs), so that a resumed lab goes on
where it stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@runtime_checkable
class Clock(Protocol):
    """What time it is in the lab, and how to wait for later."""

    def now_h(self) -> float:
        """Lab time in hours since the epoch."""
        ...

    def wait_until(self, lab_time_h: float) -> None:
        """Return when lab time has reached `lab_time_h`."""
        ...


class SystemClock:
    """Real time."""

    def now_h(self) -> float:
        """Hours since the epoch by the system's clock."""
        return (datetime.now(UTC) - EPOCH).total_seconds() / 3600

    def wait_until(self, lab_time_h: float) -> None:
        """Sleep until then."""
        _wait_for(lambda: (lab_time_h - self.now_h()) * 3600)


class AcceleratedClock:
    """Real time, `factor` times as fast, from a given lab time on."""

    def __init__(self, factor: float, start_h: float = 0.0, wall: Callable[[], float] = time.monotonic) -> None:
        self._factor, self._start_h, self._wall = factor, start_h, wall
        self._wall_start = wall()

    def now_h(self) -> float:
        """Lab time in hours."""
        return self._start_h + self._factor * (self._wall() - self._wall_start) / 3600

    def wait_until(self, lab_time_h: float) -> None:
        """Sleep until lab time has come."""
        _wait_for(lambda: (lab_time_h - self.now_h()) * 3600 / self._factor)


class VirtualClock:
    """Time that moves only when somebody waits: a thousand-cycle test is over when it has been computed."""

    def __init__(self, start_h: float = 0.0) -> None:
        self._now_h = start_h
        self._lock = threading.Lock()

    def now_h(self) -> float:
        """Lab time in hours."""
        return self._now_h

    def wait_until(self, lab_time_h: float) -> None:
        """Go there at once; time never runs backwards."""
        with self._lock:
            self._now_h = max(self._now_h, lab_time_h)


def _wait_for(seconds_left: Callable[[], float]) -> None:
    while (left := seconds_left()) > 0:
        time.sleep(min(left, 60.0))


def as_datetime(lab_time_h: float) -> datetime:
    """Lab time as an aware UTC datetime."""
    return EPOCH + timedelta(hours=lab_time_h)
