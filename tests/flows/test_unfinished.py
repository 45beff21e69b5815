"""Unfinished folders: short names that tell who writes there, gone in the end, swept only where their process is dead."""

from dataclasses import replace

import pytest

from flows.unfinished import PREFIX, sweep_unfinished, unfinished
from orchestrator.domain.errors import StoreError
from orchestrator.store.process import this_process


def test_a_folder_is_gone_unless_it_was_renamed(tmp_path):
    """After the work, and after a failure; what was renamed stays."""
    with unfinished(tmp_path / "new") as folder:
        (folder / "inside").write_text("x")
        assert len(folder.name) < 100
        assert sweep_unfinished(tmp_path / "new") == []
    with pytest.raises(ValueError, match="half"), unfinished(tmp_path) as folder:
        raise ValueError("half")
    with unfinished(tmp_path) as folder:
        folder.replace(tmp_path / "done")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["done", "new"]
    assert list((tmp_path / "new").iterdir()) == []


def test_only_what_dead_processes_left_is_swept(tmp_path):
    """Another machine's, a living one's, names that are something else, files and links stay."""
    dead = replace(this_process(), started="1").to_text()
    elsewhere = replace(this_process(), machine="0" * 8, started="1").to_text()
    stay = [f"{PREFIX}{elsewhere}-aa", f"{PREFIX}{this_process().to_text()}-aa", f"{PREFIX}thesis", "data"]
    for name in (*stay, f"{PREFIX}{dead}-aa"):
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / f"{PREFIX}{dead}-bb").write_text("a file")
    (tmp_path / f"{PREFIX}{dead}-cc").symlink_to(tmp_path / "data")
    assert [p.name for p in sweep_unfinished(tmp_path)] == [f"{PREFIX}{dead}-aa"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stay, f"{PREFIX}{dead}-bb", f"{PREFIX}{dead}-cc"])
    assert sweep_unfinished(tmp_path / "not there") == []


def test_a_place_that_takes_nothing_is_one_error(tmp_path):
    """A file where a folder is needed."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="Nothing was left there"), unfinished(tmp_path / "file"):
        pass
