"""How long an emergency stop takes with the database locked by another process: from the command's start to the device's journal.

    python benchmarks/estop_latency.py [--repeats 10] [--channels 8] [--history 0]

A lab with a test running on every channel of a simulated cycler is copied for each repeat; another process holds its SQLite file
for itself (no reading, no writing); `voltloop estop` is started. Measured is when the last test's stop stands in the cycler's own
journal, and when the command has ended. `--history N` adds N tests to the journal that ended long ago. Wanted: below 1 s on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

VOLTLOOP = [sys.executable, "-c", "import sys; sys.argv[0] = 'voltloop'; from flows.cli import main; main()"]
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
connection.execute("PRAGMA locking_mode=EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


def make_lab(folder: Path, channels: int, history: int) -> tuple[Path, int]:
    """A lab with running tests; the folder of its cycler's journal is returned, and how many run."""
    from adapters.simulated.life_test import LifeEnd
    from adapters.simulated.run_files import RunFiles
    from flows import Lab, advance_campaign, start_campaign
    from flows.examples import demo_spec
    from orchestrator.domain import RunState

    with Lab.open(folder) as lab:
        spec = replace(demo_spec(trials=channels, channels=channels, seed=0), constraints=(), safe_seed=(), strategy="auto")
        start_campaign(lab, spec)
        advance_campaign(lab, spec.name)
        (name,) = lab.cyclers_for(spec)
        running = sum(trial.status == "running" for trial in lab.store.trials(spec.name))
    device = folder / "cyclers" / name
    if history:
        starts = device / "starts.jsonl"
        lines = starts.read_text().splitlines()
        started = json.loads(lines[0])
        old = []
        for number in range(history):
            key = f"before/{number}/1"
            old.append({**started, "key": key, "request": {**started["request"], "key": key}})
        starts.write_text("\n".join([*map(json.dumps, old), *lines]) + "\n")
        from adapters.simulated.journal import Journal

        for start in Journal(device).starts().values():
            if start.key.startswith("before/"):
                RunFiles(device / "runs" / start.folder_name).write_end(LifeEnd(RunState.FINISHED, None, -1.0, 1))
    return device.relative_to(folder), running


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database for itself."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "locked\n"
        yield
        p.communicate("\n")


def measure(lab: Path, device: Path, running: int) -> tuple[float, float]:
    """Seconds from the command's start to the last stop in the journal, and to its end."""
    with locked(lab / "voltloop.db"):
        begun = time.time()
        done = subprocess.run([*VOLTLOOP, "estop", "--lab", str(lab)], capture_output=True, text=True, check=False)
        ended = time.time()
        stops = lab / device / "stops.jsonl"
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(stops.read_text().splitlines()) == running
    return stops.stat().st_mtime - begun, ended - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--history", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="voltloop-estop-") as made:
        device, running = make_lab(Path(made) / "lab", given.channels, given.history)
        found = []
        for number in range(given.repeats):
            lab = Path(made) / f"lab{number}"
            shutil.copytree(Path(made) / "lab", lab)
            found.append(measure(lab, device, running))
            print(f"{number + 1}: stopped after {found[-1][0]:.3f} s, command ended after {found[-1][1]:.3f} s", flush=True)
            shutil.rmtree(lab)
    stopped = [s for s, _ in found]
    load = os.getloadavg()[0]
    print(
        f"stop recorded by the device: median {statistics.median(stopped):.3f} s, slowest {max(stopped):.3f} s of {len(stopped)}"
    )
    print(f"({running} tests running, {given.history} earlier tests, load average {load:.1f} on {os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
