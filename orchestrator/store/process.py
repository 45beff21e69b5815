"""Which process somebody is, and whether it is certainly dead: a killed holder must not keep the lab waiting."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told from every other one: process numbers are used again, so its start counts too.

    Attributes:
        machine, boot: digests of the machine and of its present boot.
        namespace: of its process numbers; containers have their own.
        pid, started: process number, and start time in the kernel's ticks.
    """

    machine: str
    boot: str
    namespace: str
    pid: int
    started: str

    def to_text(self) -> str:
        """A short text that may stand in a file's name."""
        return "-".join((self.machine, self.boot, self.namespace, str(self.pid), self.started))

    @classmethod
    def from_text(cls, text: str) -> ProcessIdentity:
        """Read what `to_text` wrote.

        Raises:
            ValueError: if it is something else.
        """
        machine, boot, namespace, pid, started = text.split("-")
        return cls(machine, boot, namespace, int(pid), started)

    def certainly_dead(self) -> bool:
        """Whether it can be proven from here that the process has ended; False when in doubt."""
        here = this_process()
        if self.machine != here.machine:
            return False
        if self.boot != here.boot:
            return True
        if self.namespace != here.namespace or os.name != "posix":
            return False
        return _start_of(self.pid) != self.started


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = os.getpid()
    return ProcessIdentity(*_this_machine(), pid=pid, started=_start_of(pid) or "0")


@cache
def _this_machine() -> tuple[str, str, str]:
    boot = _content("/proc/sys/kernel/random/boot_id")
    # Host names repeat across machines. Without a machine's id only its boot tells it from a namesake.
    machine = f"{socket.gethostname()} {_content('/etc/machine-id') or boot}"
    namespace = "".join(c for c in _link("/proc/self/ns/pid") if c.isdigit())
    return _digest(machine), _digest(boot), namespace


def _start_of(pid: int) -> str | None:
    """When a process started; None if there is none of that number, or it has ended and is only not yet reaped."""
    stat = _content(f"/proc/{pid}/stat")
    if stat:
        # The name in parentheses may hold anything; state is the first field behind it, the start time the twentieth.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    if os.name != "posix":
        return "0"
    if Path("/proc/self/stat").exists():
        return None
    return "0" if _answers(pid) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _content(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - Path would resolve 'pid:[...]' as a relative path
    except OSError:
        return ""
