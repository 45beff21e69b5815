"""A worker process: `python -m adapters.simulated.worker PARENT_PID`. Jobs come in as JSON lines, answers go out as such.

It builds the cell of a preset when a job first asks for it, ignores Ctrl-C (the parent decides), and leaves within a second of
its parent's death, however that died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import TextIO

from adapters.simulated.computing import Slice, compute

WATCH_PERIOD_S = 0.5


def main() -> None:
    """Serve jobs until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _private_output()
    threading.Thread(target=_leave_with, args=(int(sys.argv[1]),), daemon=True).start()
    from adapters.simulated.cell_model import pybamm_cell  # seconds: after the watch has begun

    _answer(answers, "ready")
    for line in sys.stdin:
        mine = compute(Slice.of(json.loads(line)), pybamm_cell, lambda: _answer(answers, "heard"))
        _answer(answers, "done" if mine else "busy")


def _private_output() -> TextIO:
    """The pipe to the parent, out of reach of libraries that print."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


def _answer(answers: TextIO, word: str) -> None:
    answers.write(word + "\n")
    answers.flush()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_PERIOD_S)
    os._exit(1)


if __name__ == "__main__":
    main()
