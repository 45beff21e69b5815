"""Who speaks: the person on whose word a trial is approved, stopped or settled, as the records name them."""

from __future__ import annotations

import getpass
import socket


def this_person() -> str:
    """The user of this process and the machine it runs on, `user@host`; a name in the records, no proof of identity."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in the password file
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
