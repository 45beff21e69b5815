"""How columns are stored: a resolution is for floats; whole numbers keep every bit and say nothing of one."""

import numpy as np
import pytest

from orchestrator.domain.errors import StoreError
from orchestrator.store.recordings import RecordingArchive


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_a_resolution_of_whole_numbers_is_refused(tmp_path, kind):
    """They are not rounded, so nothing claims that they were; without one they are stored as they are."""
    archive, values = RecordingArchive(tmp_path / "recordings"), np.array([0, 1, 1, 0, 1]).astype(kind)
    with pytest.raises(StoreError, match=f"'v' holds {kind}, which is not rounded"):
        archive.write("k", {"v": values}, {}, resolution={"v": 2.0})
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert archive.read(archive.write("k", {"v": values}, {}))["v"].tolist() == values.tolist()
