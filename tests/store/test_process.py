"""Telling the living from the dead."""

import os
import subprocess

import pytest

from orchestrator.store.process import ProcessIdentity, this_process


def test_who_asks_is_alive() -> None:
    """A process knows itself, through text and back, and is not dead to itself."""
    me = this_process()
    assert ProcessIdentity.from_text(me.to_text()) == me
    assert me.pid == os.getpid()
    assert not me.certainly_dead()


def test_a_child_is_somebody_else() -> None:
    """A forked child has an identity of its own; once it has ended, it is dead, waited for or not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, this_process().to_text().encode())
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    child = ProcessIdentity.from_text(os.read(reading, 1000).decode())
    os.close(reading)
    os.close(writing)
    assert child.pid == pid
    assert child.certainly_dead()
    os.waitpid(pid, 0)
    assert child.certainly_dead()


def test_another_living_process_is_alive() -> None:
    """A process that runs is not dead, seen from another one."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        from orchestrator.store.process import _start_of

        identity = ProcessIdentity(*this_process().to_text().split("-")[:3], pid=other.pid, started=_start_of(other.pid) or "")
        assert not identity.certainly_dead()
        assert other.stdin is not None
        other.stdin.close()


def test_strange_text_is_refused() -> None:
    """Text that is no identity is not taken for one."""
    with pytest.raises(ValueError):
        ProcessIdentity.from_text("a-b")
