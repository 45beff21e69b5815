"""A model serves only where it beats the baseline on the same cells, surely enough; and the table says so for ever."""

import json

import numpy as np
import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.prognostics.gate import ComparisonTable, cell_losses, compare_with_baseline


def losses(rng, better=0.0, cells=40):
    hard = rng.exponential(size=cells)
    return {"baseline": hard, "model": hard - better + 0.3 * rng.normal(size=cells)}


def test_a_better_model_passes_and_a_lucky_one_does_not():
    """Pairing finds a gain that cells of very different difficulty would hide; a tenth of it does not pass."""
    rng = np.random.default_rng(0)
    sure = compare_with_baseline(losses(rng, 0.3), "baseline")
    unsure = compare_with_baseline(losses(rng, 0.02), "baseline")
    assert sure.passing == ("model",)
    assert unsure.passing == ()
    assert sure.row("model").high < 0 < unsure.row("model").high
    assert sure.rows[0].model == "baseline"
    assert not sure.rows[0].passes


def test_equals_pass_seldom():
    """No gain at all passes in 1 of 40 comparisons: the interval's upper half."""
    rng = np.random.default_rng(1)
    passed = [bool(compare_with_baseline(losses(rng), "baseline").passing) for _ in range(2000)]
    assert np.mean(passed) == pytest.approx(0.025, abs=0.01)


def test_rows_of_a_cell_are_one_difference():
    """Hundreds of rows of four cells are no more sure than four cells."""
    cells = np.repeat(["a", "b", "c", "d"], 100)
    worse = np.repeat([1.0, 1.0, 1.0, 0.0], 100)
    assert cell_losses(worse, cells).tolist() == [1.0, 1.0, 1.0, 0.0]
    table = compare_with_baseline({"baseline": worse, "model": np.full(400, 0.5)}, "baseline", groups=cells)
    assert table.cells == 4
    assert table.passing == ()


def test_the_table_is_kept():
    """Through JSON and back it is the same table, with what serves marked."""
    table = compare_with_baseline(losses(np.random.default_rng(2), 0.3), "baseline", confidence=0.8).serving(("model",))
    again = ComparisonTable.from_dict(json.loads(json.dumps(table.as_dict())))
    assert again == table
    assert [row.served for row in again.rows] == [False, True]


def test_what_cannot_be_compared_is_said():
    """No baseline, one cell, losses that are not finite, or an impossible confidence."""
    with pytest.raises(SpecError, match="one of a, b"):
        compare_with_baseline({"a": [1.0], "b": [1.0]}, "baseline")
    with pytest.raises(SpecError, match="at least two cells"):
        compare_with_baseline({"a": [1.0, 2.0]}, "a", groups=["x", "x"])
    with pytest.raises(SpecError, match="not finite"):
        compare_with_baseline({"a": [1.0, np.nan]}, "a")
    with pytest.raises(SpecError, match="between 0 and 1"):
        compare_with_baseline({"a": [1.0, 2.0]}, "a", confidence=1.0)
