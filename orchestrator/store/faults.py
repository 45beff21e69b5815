"""What a database says when it refuses, in words a person can act on."""

from __future__ import annotations

from orchestrator.domain.errors import StoreError


class UnreadableValueError(StoreError):
    """A stored value is not the JSON that it should be."""


# (what the driver's message contains, what is wrong, what to do); the first that fits is said.
_SAID = (
    (
        ("database is locked", "table is locked", "lock timeout"),
        "is locked: another program has been writing to it for longer than {busy_s:g} s",
        "Wait until it is done, or end it, then run the same command again.",
    ),
    (("readonly", "read-only"), "is read-only", "Make the file and its folder writable, or name another lab with --lab."),
    (
        ("unable to open", "not a directory", "permission denied"),
        "cannot be opened",
        "Check that its folder exists and that you may write there, or name another lab with --lab.",
    ),
    (
        ("is full", "no space left", "sqlite_ioerr_shmsize"),
        "cannot grow: the disk is full",
        "Make room and run the same command again; what was stored before is safe.",
    ),
    (
        ("file is not a database", "malformed"),
        "is damaged or is not a voltloop database",
        "Restore it from a backup, or name another lab with --lab.",
    ),
    (
        ("disk i/o error",),
        "cannot be read or written: the disk reports an error",
        "Check the disk; what was stored before is in the file.",
    ),
    (
        ("connection", "could not connect", "server closed", "terminating"),
        "cannot be reached",
        "Check that the server runs and that address, user and password in the URL are right, then run the same command again.",
    ),
)


def store_error(error: Exception, place: str, busy_s: float) -> StoreError:
    """One message: which database, what is wrong, what to do.

    Args:
        error: what SQLAlchemy or the driver raised.
        place: the file, or the URL without its password.
        busy_s: how long a lock was waited for.
    """
    raised = getattr(error, "orig", None) or error
    said = str(raised)
    known_by = f"{said} {getattr(raised, 'sqlite_errorname', '')}".lower()
    for words, problem, remedy in _SAID:
        if any(word in known_by for word in words):
            return StoreError(f"the lab's database '{place}' {problem.format(busy_s=busy_s)}. {remedy}")
    return StoreError(f"the lab's database '{place}' refused: {said.splitlines()[0] if said else type(error).__name__}")
