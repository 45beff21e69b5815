"""What the lab's disk refuses, in words a person can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.domain.errors import StoreError

_MAKE_ROOM = "Make room and run the same command again"
_MAKE_WRITABLE = "Make the lab's folder writable, or name another lab with --lab"
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: _MAKE_ROOM,
    errno.EROFS: _MAKE_WRITABLE,
    errno.EACCES: _MAKE_WRITABLE,
    errno.EPERM: _MAKE_WRITABLE,
    errno.EIO: "Check the disk and run the same command again",
}


@contextmanager
def disk_faults_told() -> Iterator[None]:
    """Turn what a full, read-only or broken disk raises into `StoreError`; other faults pass.

    Raises:
        StoreError: which file cannot be written, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        what = f"'{error.filename}'" if error.filename else "a file of the lab"
        raise StoreError(f"{what} cannot be written: {error.strerror}. {remedy}; what was stored before is safe.") from error
