import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.landscape import Landscape
from benchmarks.peers.plain import RandomRows, SobolRows
from benchmarks.sample_efficiency import race, summary, write_recommendations


@pytest.fixture
def landscape() -> Landscape:
    return Landscape([{"a": float(i), "b": float(i % 3)} for i in range(12)], ("a", "b"), np.linspace(100.0, 210.0, 12))


class Recorder:
    """Proposes the first rows and keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.means: list[float] = []

    def propose(self, n: int) -> list[int]:
        """Rows or points, whatever was told."""
        return list(range(n))

    def tell(self, rows: list[int], means: list[float]) -> None:
        """Take results."""
        self.rows += rows
        self.means += means

    def recommend(self) -> dict[str, int]:
        """The row after as many as were told."""
        return {"voltloop": len(self.rows) - 1}


def test_all_methods_of_a_seed_meet_the_same_first_batch_and_noise(landscape: Landscape) -> None:
    """The k-th cell adds the same noise to its row's true life, whoever chose the row; marks off the batch are met exactly."""
    one, other = Recorder(), RandomRows(landscape, 5.0, 3)
    results = race(one, landscape, 5.0, 4, [4, 6, 11], seed=3)
    race(other, landscape, 5.0, 4, [11], seed=3)
    assert one.rows[:4] == other.rows[:4]
    noise = [np.array(m.means) - landscape.life[m.rows] for m in (one, other)]
    assert np.allclose(*noise)
    assert [r["cells"] for r in results] == [4, 6, 11]
    assert [r["true_life"] for r in results] == landscape.life[[3, 5, 10]].tolist()


@pytest.mark.parametrize("method", [RandomRows, SobolRows])
def test_methods_without_a_model_recommend_the_best_observed_mean(method: type, landscape: Landscape) -> None:
    """Replicates are averaged: one lucky result does not make a row the best."""
    plain = method(landscape, 1.0, 0)
    plain.tell([1, 1, 2], [50.0, 10.0, 40.0])
    assert list(plain.recommend().values()) == [2]
    assert all(0 <= row < 12 for row in plain.propose(5))


def test_the_lead_is_taken_seed_by_seed() -> None:
    """Voltloop's lead is the mean of differences on shared seeds, so what a seed makes easy for both does not widen its error."""
    results = [
        {"seed": s, "method": m, "cells": 8, "row": 0, "true_life": 100.0 * s + gain, "cpu_s_per_batch": 1.0}
        for s in range(4)
        for m, gain in (("voltloop", 7.0), ("other", float(s % 2)))
    ]
    other = summary(results, 8)[1]
    assert other["voltloop ahead by"] == pytest.approx(6.5)
    assert other["its standard error"] == pytest.approx(0.288675, abs=1e-5)
    assert other["in standard errors"] == pytest.approx(22.5, abs=0.1)


def test_recommendations_are_written_by_seed_and_cells(tmp_path: Path, landscape: Landscape) -> None:
    """The file holds Voltloop's choices alone, as values of the axes."""
    results = [{"seed": 1, "method": m, "cells": 48, "row": 4} for m in ("voltloop", "ax")]
    write_recommendations(tmp_path / "out.csv", results, landscape)
    with (tmp_path / "out.csv").open() as stream:
        assert list(csv.reader(stream)) == [["seed", "n_cells", "a", "b"], ["1", "48", "4.0", "1.0"]]
