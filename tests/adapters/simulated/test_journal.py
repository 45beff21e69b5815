"""The journal: a start is never forgotten and never doubled, whatever dies."""

import json
import signal
import subprocess
import sys
import threading

import pytest

from adapters.simulated.journal import Journal, Start, Stop

# Submits tests for ever, saying each key once its submission has returned.
SUBMIT_FOR_EVER = """
import sys
from adapters.simulated import SimulatedCycler
from orchestrator.domain import VirtualClock, RunRequest
from orchestrator.domain.value import from_plain
import json
folder, plain = sys.argv[1], json.loads(sys.argv[2])
cycler = SimulatedCycler(10_000, folder=folder, clock=VirtualClock(), workers=0)
for n in range(10_000):
    cycler.submit(from_plain(RunRequest, {**plain, "key": f"k{n}", "channel": str(n + 1)}))
    print(f"k{n}", flush=True)
"""


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def test_what_was_added_is_there_for_the_next_process(journal, request_for):
    """A second journal on the folder knows starts, their requests, and stops."""
    request = request_for("a/1/1", rates_C=(5.0, 3.0))
    journal.add_start(Start(request, 12.5, 7))
    journal.add_stop(Stop("a/1/1", 20.0, "enough", True))
    other = Journal(journal.folder)
    assert other.starts() == {"a/1/1": Start(request, 12.5, 7)}
    assert other.stops()["a/1/1"].reason == "enough"


def test_a_journal_of_an_earlier_version_stays_readable(journal, request_for):
    """Lines written before there were instruments, faults and a cadence of spectra: the same test, with what was the default."""
    start = Start(request_for("a"), 12.5, 7)
    journal.add_start(start)
    path = journal.folder / "starts.jsonl"
    line = json.loads(path.read_text())
    del line["instrument"], line["request"]["impedance_every_checkups"]
    path.write_text(json.dumps(line) + "\n")
    (found,) = Journal(journal.folder).starts().values()
    assert found == start
    assert found.request.content_sha256 == start.request.content_sha256


def test_a_journal_sees_what_another_adds_later(journal, request_for):
    """Several processes share a folder."""
    other = Journal(journal.folder)
    assert other.starts() == {}
    journal.add_start(Start(request_for("a"), 0.0, 0))
    assert list(other.starts()) == ["a"]


@pytest.mark.parametrize("torn", [b'{"key": "half', b"{", b'{"key": "b"}'])
def test_a_line_cut_short_was_never_acknowledged(journal, request_for, torn):
    """A crash within a write leaves neither a phantom start nor a journal that cannot be read."""
    journal.add_start(Start(request_for("a"), 0.0, 0))
    path = journal.folder / "starts.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    assert list(Journal(journal.folder).starts()) == ["a"]
    Journal(journal.folder).add_start(Start(request_for("c"), 0.0, 0))
    assert list(Journal(journal.folder).starts()) == ["a", "c"]


def test_the_first_order_to_stop_counts(journal):
    """Repeating an order changes nothing."""
    journal.add_stop(Stop("a", 1.0, "first", True))
    journal.add_stop(Stop("a", 2.0, "second", True))
    assert journal.stops()["a"].reason == "first"


def test_threads_submitting_one_key_start_one_test(new_cycler, request_for):
    """Sixteen threads, two cyclers on one folder, three keys: three physical starts."""
    cyclers = [new_cycler(), new_cycler()]
    gate, refs = threading.Barrier(16), []

    def submit(n):
        gate.wait()
        refs.append(cyclers[n % 2].submit(request_for(f"k{n % 3}", channel=str(n % 3 + 1))))

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(refs)) == 3
    assert cyclers[0].physical_starts() == {"k0": 1, "k1": 1, "k2": 1}


def test_processes_submitting_one_channel_start_one_test(tmp_path, request_for):
    """The channel is taken by whoever writes first; the other is refused."""
    from orchestrator.domain.value import to_plain

    script = SUBMIT_FOR_EVER.replace('"key": f"k{n}", "channel": str(n + 1)', '"key": sys.argv[3], "channel": "1"')
    script = script.replace("range(10_000)", "range(1)")
    plain = json.dumps(to_plain(request_for("x")))
    command = [sys.executable, "-c", script, str(tmp_path), plain]
    racers = [subprocess.Popen([*command, key], stderr=subprocess.PIPE, stdout=subprocess.PIPE) for key in ("a", "b")]
    errors = [racer.communicate()[1].decode() for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1]
    assert "is busy with test" in "".join(errors)
    assert len(Journal(tmp_path).physical_starts()) == 1


def test_kill_9_forgets_no_submission_and_doubles_none(tmp_path, request_for, new_cycler):
    """Whatever was acknowledged is found afterwards; asking again for all starts nothing twice."""
    from orchestrator.domain.value import to_plain

    plain = json.dumps(to_plain(request_for("x")))
    folder = tmp_path / "killed"
    acknowledged = []
    for until in (3, 9):
        victim = subprocess.Popen([sys.executable, "-c", SUBMIT_FOR_EVER, str(folder), plain], stdout=subprocess.PIPE, text=True)
        for line in victim.stdout:
            acknowledged.append(line.strip())
            if line.strip() == f"k{until}":
                break
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    cycler = new_cycler(10_000, folder=folder)
    assert all(cycler.find(key) is not None for key in acknowledged)
    for n in range(12):
        cycler.submit(request_for(f"k{n}", channel=str(n + 1)))
    assert set(cycler.physical_starts().values()) == {1}
