"""`kill -9` of a process that records a running test and closes it, at random moments: no acknowledged row is lost.

    python benchmarks/killed_recording.py [--kills 50] [--seed 0]

A recorder takes rows from a made-up cycler, appends them to a live recording, writes down what was acknowledged, and closes every
tenth time. After each kill the next one goes on. At the end every row is there once, every file reads, and nothing is left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import show
from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingArchive, RecordingFile

ROWS_PER_TEST, ROWS_PER_ANSWER = 3000, 37
ACKNOWLEDGED, CLOSED = "acknowledged", "closed"


@dataclass
class Judged:
    """What a series of kills did.

    Attributes:
        faults: promises broken, in words.
    """

    kills: int = 0
    rows: int = 0
    tests: int = 0
    torn: int = 0
    faults: list[str] = field(default_factory=list)


def rows_of(test: int, first: int) -> dict[str, np.ndarray]:
    """What the cycler of a test answers behind a cursor; the same cursor gives the same rows."""
    number = np.arange(first, min(first + ROWS_PER_ANSWER, ROWS_PER_TEST))
    wave = np.random.default_rng(test).normal(size=ROWS_PER_TEST)[number]
    return {
        "test_time_second": number / 10,
        "voltage_volt": np.round(3.3 + 0.01 * wave, 4),
        "current_ampere": 1.0 + wave,
        "cycle_count": number // 100 + 1,
    }


def record(lab: Path) -> None:
    """Record test after test, for ever: the process that is killed."""
    archive = RecordingArchive(lab / "recordings")
    archive.sweep()
    archive.live.sweep(lambda key: key in _lines(lab / CLOSED))
    test = len(_lines(lab / CLOSED))
    while True:
        key = f"test/{test}/1"
        live = archive.live.open(key, segment_bytes=20_000)
        while live.rows < ROWS_PER_TEST:
            live.append(rows_of(test, live.rows), str(min(live.rows + ROWS_PER_ANSWER, ROWS_PER_TEST)))
            live.flush()
            _note(lab / ACKNOWLEDGED, f"{key} {live.rows}")
        file = archive.write_batches(key, live.batches(), {"test": test})
        _note(lab / CLOSED, key, f"{file.uri} {file.sha256} {file.rows} {file.schema_version}")
        archive.live.remove(key)
        test += 1


def _note(path: Path, key: str, more: str = "") -> None:
    """One durable line, written at once: what stands for the database here."""
    with path.open("ab") as stream:
        stream.write(f"{key}\t{more}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())


def _lines(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return dict(line.split("\t") for line in path.read_text().splitlines() if "\t" in line)


def kill_and_judge(lab: Path, kills: int, seed: int) -> Judged:
    """Kill recorders one after the other, and look at what is there after each."""
    lab.mkdir(parents=True, exist_ok=True)
    dice, judged = random.Random(seed), Judged()
    while judged.kills < kills and not judged.faults:
        process = subprocess.Popen([sys.executable, __file__, "--record", str(lab)], stderr=subprocess.PIPE)
        _wait_for_more(lab, process)
        time.sleep(dice.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        if process.returncode != -signal.SIGKILL:
            judged.faults.append(f"a recorder ended by itself: {said.decode()[-500:]}")
        judged.kills += 1
        _look(lab, judged)
    _clean(lab, judged)
    return judged


def _wait_for_more(lab: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the recorder is at work: it has acknowledged something new."""
    before, until = _size(lab / ACKNOWLEDGED), time.monotonic() + 60
    while _size(lab / ACKNOWLEDGED) == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _look(lab: Path, judged: Judged) -> None:
    """Every acknowledged row is there, in a closed or a live recording, once and as it was measured."""
    archive, closed = RecordingArchive(lab / "recordings"), _lines(lab / CLOSED)
    acknowledged: dict[str, int] = {}
    for line in _lines(lab / ACKNOWLEDGED):
        key, _, rows = line.partition(" ")
        acknowledged[key] = int(rows)
    judged.rows, judged.tests = sum(acknowledged.values()), len(closed)
    live_bytes = sum(path.stat().st_size for path in archive.live.folder.rglob("*.arrows")) if archive.live.folder.exists() else 0
    try:
        for key, rows in acknowledged.items():
            found = _columns(archive, key, closed)
            count = len(next(iter(found.values()), ()))
            test = int(key.split("/")[1])
            if count < rows or (key in closed and count != ROWS_PER_TEST):
                judged.faults.append(f"{key}: {rows} rows were acknowledged, {count} are there")
            true = [rows_of(test, first) for first in range(0, count, ROWS_PER_ANSWER)]
            for name, column in found.items():
                if column.tobytes() != np.concatenate([part[name] for part in true])[:count].tobytes():
                    judged.faults.append(f"{key}: '{name}' is not what was measured")
    except StoreError as error:
        judged.faults.append(f"cannot be read: {error}")
    judged.torn += int(live_bytes > 0)


def _columns(archive: RecordingArchive, key: str, closed: dict[str, str]) -> dict[str, np.ndarray]:
    if key in closed:
        uri, sha256, rows, version = closed[key].rsplit(" ", 3)
        return archive.read(RecordingFile(uri, sha256, int(rows), int(version)))
    live = archive.live.find(key)
    parts = list(live.batches()) if live else []
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _clean(lab: Path, judged: Judged) -> None:
    """After the sweep there is one file per closed test, the one test that still runs, and nothing else."""
    archive, closed = RecordingArchive(lab / "recordings"), _lines(lab / CLOSED)
    archive.sweep()
    archive.live.sweep(lambda key: key in closed)
    wanted = {line.split(" ")[0].rpartition("/")[2] for line in closed.values()}
    found = {path.name for path in archive.folder.iterdir()} if archive.folder.exists() else set()
    extra = {
        name for name in found - wanted if not name.endswith(".parquet")
    }  # a whole file before its row is an orphan, not litter
    left = [path.name for path in archive.live.folder.iterdir()] if archive.live.folder.exists() else []
    if wanted - found or extra or len(left) > 1:
        judged.faults.append(f"left behind: {sorted(extra)} and {left}; missing: {sorted(wanted - found)}")


def main() -> int:
    """Kill as often as asked, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.record:
        record(options.record)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        judged = kill_and_judge(Path(folder) / "lab", options.kills, options.seed)
    row = {"kills": judged.kills, "rows acknowledged": judged.rows, "tests closed": judged.tests, "faults": len(judged.faults)}
    show([row], "kill -9 of recorders")
    for fault in judged.faults[:20]:
        print(fault)
    return int(bool(judged.faults))


if __name__ == "__main__":
    sys.exit(main())
