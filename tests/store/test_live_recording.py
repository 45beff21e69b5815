"""Recordings of tests that still run."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.killed_recording import kill_and_judge
from orchestrator.domain.errors import StoreError
from orchestrator.store import LiveRecording, LiveRecordingError, LiveRecordings
from orchestrator.store.live_recording import OvertakenError
from orchestrator.store.recording_place import temporary_name
from orchestrator.store.segments import read_segment

KEY = "fast/1/1"


@pytest.fixture
def live(tmp_path: Path) -> LiveRecordings:
    return LiveRecordings(tmp_path / "lab" / "live")


def rows(first: int, count: int = 10) -> dict[str, np.ndarray]:
    """Rows that tell their own numbers."""
    number = np.arange(first, first + count)
    return {"test_time_second": number * 0.1, "voltage_volt": np.where(number % 7, 3.0 + number, np.nan), "cycle_count": number}


def numbers(recording: LiveRecording) -> list[int]:
    return [int(n) for batch in recording.batches() for n in batch["cycle_count"]]


def taken(recording: LiveRecording, first: int, last: int, size: int = 10) -> None:
    for at in range(first, last, size):
        recording.append(rows(at, size), str(at + size))
        recording.flush()


def test_rows_come_back_as_they_were_appended(live: LiveRecordings) -> None:
    """Every row, bit by bit and in order, with the cursor behind the last one; also for whoever opens it anew."""
    recording = live.open(KEY)
    taken(recording, 0, 100)
    again = LiveRecordings(live.folder).find(KEY)
    assert again is not None
    for found in (recording, again):
        joined = {name: np.concatenate([b[name] for b in found.batches()]) for name in rows(0)}
        assert all(joined[name].tobytes() == column.tobytes() for name, column in rows(0, 100).items())
        assert (found.cursor, found.rows) == ("100", 100)
    taken(again, 100, 120)
    assert numbers(again) == list(range(120))


def test_segments_are_plain_arrow(live: LiveRecordings) -> None:
    """Any Arrow tool reads a segment."""
    recording = live.open(KEY)
    taken(recording, 0, 30)
    (segment,) = recording.folder.glob("*.arrows")
    with pa.OSFile(str(segment)) as source:
        assert len(pa.ipc.open_stream(source).read_all()) == 30


def test_rows_are_acknowledged_once_they_are_durable(live: LiveRecordings) -> None:
    """Rows wait for the interval or the size; only then does the cursor move, and what waited is forgotten with its process."""
    now = [0.0]
    recording = live.open(KEY, now=lambda: now[0], flush_every_s=5.0, flush_bytes=2000)
    assert not recording.append(rows(0), "10")
    assert recording.cursor is None
    now[0] = 4.9
    assert not recording.append(rows(10), "20")
    now[0] = 5.0
    assert recording.append(rows(20), "30")
    assert (recording.cursor, recording.rows) == ("30", 30)
    assert not recording.append(rows(30), "40")
    assert recording.append(rows(40, 100), "140")
    assert not recording.append(rows(140), "150")
    assert LiveRecordings(live.folder).open(KEY).cursor == "140"
    recording.refresh()
    assert recording.flush()
    assert numbers(recording) == list(range(140))


def test_long_recordings_are_many_segments(live: LiveRecordings) -> None:
    """A segment past its size is followed by another; to open it anew only the last is read."""
    recording = live.open(KEY, segment_bytes=3000)
    taken(recording, 0, 300)
    segments = sorted(recording.folder.glob("*.arrows"))
    assert len(segments) > 3
    assert numbers(recording) == list(range(300))
    segments[0].rename(segments[0].with_suffix(".away"))
    assert LiveRecordings(live.folder).open(KEY).rows == 300
    with pytest.raises(LiveRecordingError, match="damaged"):
        numbers(recording)


def test_a_segment_torn_anywhere_keeps_every_whole_batch(live: LiveRecordings) -> None:
    """Whatever byte the last write ended at, all rows before are read, and appending goes on behind them."""
    recording = live.open(KEY)
    taken(recording, 0, 20)
    (path,) = recording.folder.glob("*.arrows")
    whole = path.read_bytes()
    taken(recording, 20, 30)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        segment = read_segment(path)
        found = 0 if segment is None else segment.rows
        assert found in (0, 10, 20)
        assert found == 20 or length < len(whole)
    for length in range(len(whole), len(content), 97):
        path.write_bytes(content[:length])
        torn = LiveRecordings(live.folder).open(KEY)
        assert (torn.rows, torn.cursor) == (20, "20")
        taken(torn, 20, 40)
        assert numbers(torn) == list(range(40))


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"\xff" * 5000, os.urandom(5000)])
def test_garbage_behind_the_last_batch_is_not_read(live: LiveRecordings, garbage: bytes) -> None:
    """What a power cut leaves in place of a batch, zeros for example, ends the segment; so does a bit that flipped."""
    recording = live.open(KEY)
    taken(recording, 0, 20)
    (path,) = recording.folder.glob("*.arrows")
    whole = path.read_bytes()
    path.write_bytes(whole + garbage)
    again = LiveRecordings(live.folder).open(KEY)
    taken(again, 20, 30)
    assert numbers(again) == list(range(30))
    changed = bytearray(whole)
    changed[-100] ^= 1
    path.write_bytes(changed)
    assert LiveRecordings(live.folder).open(KEY).rows == 10


def test_a_first_batch_torn_is_no_segment(live: LiveRecordings) -> None:
    """A segment that a process died in before its first batch was whole is begun again."""
    recording = live.open(KEY)
    taken(recording, 0, 10)
    (path,) = recording.folder.glob("*.arrows")
    content = path.read_bytes()
    for length in (0, 7, 100, len(content) - 1):
        path.write_bytes(content[:length])
        again = LiveRecordings(live.folder).open(KEY)
        assert (again.rows, again.cursor) == (0, None)
        taken(again, 0, 10)
        assert numbers(again) == list(range(10))


def test_of_two_processes_the_second_to_append_is_refused(live: LiveRecordings) -> None:
    """Whoever has not seen another's rows cannot append behind them; after a look it goes on from the new cursor."""
    one, two = LiveRecordings(live.folder).open(KEY), LiveRecordings(live.folder).open(KEY)
    taken(one, 0, 10)
    two.append(rows(0), "10")
    with pytest.raises(OvertakenError, match="another process"):
        two.flush()
    assert two.cursor == "10"
    taken(two, 10, 20)
    one.append(rows(10), "20")
    with pytest.raises(OvertakenError):
        one.flush()
    assert numbers(one) == list(range(20))


def test_many_processes_keep_each_row_once(live: LiveRecordings) -> None:
    """Processes that append to one key at the same time, each from its own cursor, leave every row once and in order."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from orchestrator.store.live_recording import OvertakenError\n"
        "from orchestrator.store import LiveRecordings\n"
        "from tests.store.test_live_recording import KEY, rows\n"
        "live = LiveRecordings(Path(sys.argv[1])).open(KEY)\n"
        "while live.rows < 200:\n"
        "    try:\n"
        "        live.append(rows(live.rows, 5), str(live.rows + 5)); live.flush()\n"
        "    except OvertakenError:\n"
        "        live.refresh()\n"
    )
    live.open(KEY)
    root = str(Path(__file__).parents[2])
    crowd = [subprocess.Popen([sys.executable, "-c", program, str(live.folder), root]) for _ in range(3)]
    assert [process.wait(120) for process in crowd] == [0, 0, 0]
    found = LiveRecordings(live.folder).open(KEY)
    assert numbers(found) == list(range(found.rows))
    assert found.cursor == str(found.rows)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"test_time_second": np.ones(2), "voltage_volt": np.ones(2)}, "'cycle_count' was there before"),
        ({**rows(0), "current_ampere": np.ones(10)}, "'current_ampere' was not there before"),
        ({**rows(0), "cycle_count": np.ones(10)}, "held int64 before and holds float64 now"),
        ({**rows(0), "voltage_volt": np.ones(9)}, "differ in length"),
    ],
)
def test_columns_that_change_are_refused(live: LiveRecordings, columns: dict[str, np.ndarray], said: str) -> None:
    """Rows that do not continue the series are named; those before them stay."""
    recording = live.open(KEY)
    taken(recording, 0, 10)
    with pytest.raises(LiveRecordingError, match=said):
        recording.append(columns, "20")
    with pytest.raises(LiveRecordingError, match="holds no numbers"):
        live.open("other").append({"voltage_volt": np.array(["a"])}, "1")
    taken(recording, 10, 20)
    assert numbers(LiveRecordings(live.folder).open(KEY)) == list(range(20))


class FullDisk:
    """A file that takes so many bytes and then no more."""

    def __init__(self, stream, room: int) -> None:
        self._stream, self._room = stream, room

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._stream.close()

    def write(self, content: bytes) -> int:
        """As much as there is room for."""
        self._stream.write(content[: self._room])
        if len(content) > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(content)


@pytest.mark.parametrize("room", [0, 1, 200, 500])
@pytest.mark.parametrize("before", [0, 20])
def test_a_full_disk_costs_only_what_was_not_acknowledged(live: LiveRecordings, monkeypatch, room: int, before: int) -> None:
    """If the disk is full the message says so, the half-written batch is taken back, and its rows go in once there is room."""
    recording = live.open(KEY)
    taken(recording, 0, before)
    original = Path.open

    def full(self, mode="r", *more, **others):
        stream = original(self, mode, *more, **others)
        return FullDisk(stream, room) if self.suffix == ".arrows" and mode != "rb" else stream

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        recording.append(rows(before), str(before + 10))
        with pytest.raises(StoreError, match="No space left on device"):
            recording.flush()
    assert recording.cursor == (str(before) if before else None)
    taken(recording, before, before + 30)
    assert numbers(LiveRecordings(live.folder).open(KEY)) == list(range(before + 30))


def test_a_failed_fsync_acknowledges_nothing(live: LiveRecordings, monkeypatch) -> None:
    """Rows that the disk did not confirm are taken back: they are read again from the old cursor."""
    recording = live.open(KEY)
    taken(recording, 0, 10)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _handle: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO))))
        recording.append(rows(10), "20")
        with pytest.raises(StoreError, match="Input/output error"):
            recording.flush()
    assert LiveRecordings(live.folder).open(KEY).cursor == "10"


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "x" * 5000, "é\0\n/*?", ".writing-x", "試験/1/1", "\ud800"])
def test_any_key_has_a_folder_of_its_own(live: LiveRecordings, key: str) -> None:
    """Whatever a key holds, its rows lie in a plain folder under the lab's, and the key is known."""
    recording = live.open(key)
    taken(recording, 0, 10)
    assert recording.folder.parent == live.folder
    assert live.keys() == [key]
    assert live.find(key + "!") is None
    taken(live.open(key + "!"), 0, 20)
    assert live.open(key).rows == 10


def test_sweeping_takes_only_what_is_closed(live: LiveRecordings) -> None:
    """Segments of closed recordings go, and folders that dead processes were making; running and unknown tests stay."""
    for key in ("closed/1/1", "running/1/1", "unknown/1/1"):
        taken(live.open(key), 0, 10)
    parts = temporary_name().rsplit("-", 3)
    dead = live.folder / "-".join([parts[0], "999999999", *parts[2:]])
    dead.mkdir()
    closed = live.open("closed/1/1").folder
    assert live.sweep(lambda key: key == "closed/1/1") == [closed, dead]
    left = live.keys()
    assert left == ["running/1/1", "unknown/1/1"]
    assert sorted(path.name for path in live.folder.iterdir()) == sorted(live.open(k).folder.name for k in left)
    assert live.find("closed/1/1") is None


def test_a_removal_killed_in_the_middle_is_finished_by_the_sweeper(live: LiveRecordings, monkeypatch) -> None:
    """Nothing of a recording that was being removed is read, and nothing is left."""
    taken(live.open(KEY), 0, 10)
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr("shutil.rmtree", lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL))
        live.remove(KEY)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    anew = LiveRecordings(live.folder)
    assert anew.find(KEY) is None
    assert len(list(live.folder.iterdir())) == 1
    anew.sweep(lambda _key: False)
    assert list(live.folder.iterdir()) == []


def test_appending_to_what_was_closed_is_refused(live: LiveRecordings) -> None:
    """A stalled process that goes on after another has closed the recording brings nothing back."""
    stalled = LiveRecordings(live.folder).open(KEY)
    taken(stalled, 0, 10)
    LiveRecordings(live.folder).remove(KEY)
    stalled.append(rows(10), "20")
    with pytest.raises(OvertakenError, match="closed or removed"):
        stalled.flush()
    assert list(live.folder.iterdir()) == []


def test_nothing_is_there_before_a_test_runs(live: LiveRecordings) -> None:
    """A lab that never ran a test in real time has no live folder, and nothing to sweep."""
    assert live.find(KEY) is None
    live.remove(KEY)
    assert live.keys() == []
    assert live.sweep(lambda _key: True) == []
    assert not live.folder.exists()


def test_recorders_killed_at_random_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """SIGKILL at random moments of recording and closing: every acknowledged row is there once, and nothing is left behind."""
    judged = kill_and_judge(tmp_path / "lab", kills=4, seed=3)
    assert judged.faults == []
    assert judged.kills == 4
