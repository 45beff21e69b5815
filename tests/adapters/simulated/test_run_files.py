"""What has been computed of a run, on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest

from adapters.simulated.cell_steps import Cause
from adapters.simulated.checkup_cycle import BreakOff
from adapters.simulated.life_test import LifeEnd, LifeTest
from adapters.simulated.run_files import RunFiles
from orchestrator.domain import RunState


@pytest.fixture
def checkup(bench_cell, request_for):
    return next(LifeTest(request_for("a"), 0, bench_cell).run())


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path / "run")


@pytest.mark.parametrize("broken", [None, BreakOff("step 2: too hot", Cause.SAFETY)])
def test_a_check_up_comes_back_as_it_was(files, checkup, broken):
    """Every sample and every state, bit by bit."""
    files.write_checkup(replace(checkup, broken=broken))
    found = files.checkup(0)
    assert {k: v for k, v in vars(found).items() if k != "samples"} == {
        **{k: v for k, v in vars(checkup).items() if k != "samples"},
        "broken": broken,
    }
    assert all(np.array_equal(found.samples[name], checkup.samples[name]) for name in checkup.samples)


def test_a_note_ends_when_its_check_up_protocol_does(files, checkup):
    """Not with the cycle before it: what was measured in those hours is not known earlier."""
    for index, reference_s in enumerate((None, 36_000.0)):
        done = replace(checkup, index=index, reference_s=reference_s)
        files.write_checkup(done)
        (note,) = files.notes(index)
        assert note.end_s == done.end_s


def test_an_end_comes_back_as_it_was(files, tmp_path):
    """With its cause."""
    end = LifeEnd(RunState.FAILED, "cycle 3: no", 12.5, 2, cause=Cause.INFEASIBLE)
    (tmp_path / "run").mkdir()
    files.write_end(end)
    assert files.read_end() == end


def test_files_of_earlier_versions_stay_readable(files, checkup, tmp_path):
    """Written before causes were noted: a safety limit is told from anything else."""
    files.write_checkup(replace(checkup, broken=BreakOff("too hot", Cause.SAFETY)))
    path = tmp_path / "run" / "checkup-0000.npz"
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    plain = json.loads(arrays["_fields"].tobytes())
    plain["broken"] = {"reason": "too hot", "safety": True}
    arrays["_fields"] = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    assert files.checkup(0).broken.safety
    (tmp_path / "run" / "end.json").write_text(
        '{"state": "finished", "reason": "all done", "end_s": 1.0, "cycles": 9, "safety": false}'
    )
    assert files.read_end() == LifeEnd(RunState.FINISHED, "all done", 1.0, 9)
