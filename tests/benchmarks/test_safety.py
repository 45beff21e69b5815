import numpy as np
import pytest

from benchmarks import safety
from benchmarks.peers.task import Matrix, Task
from benchmarks.problems import Response, SafeProblem
from benchmarks.tables import wilson_upper


@pytest.fixture
def problem() -> SafeProblem:
    """Value and hazard both equal the first coordinate; the limit stands at 0.5."""
    flat = np.zeros((2, 1)), np.zeros(1), np.zeros(1)
    first = Response(np.array([1.0, 0.0]), *flat)
    return SafeProblem(0, first, first, 0.5, 0.5, np.array([[0.1, 0.0], [0.2, 0.0], [0.25, 0.0], [0.05, 0.0]]))


class Scripted:
    """Proposes 0.4, then 0.6, then stops."""

    def __init__(self, task: Task) -> None:
        self.left = [0.4, 0.6]

    def propose(self, n: int) -> Matrix:
        """Rows or points, whatever was told."""
        return np.array([[self.left.pop(0), 0.0]]) if self.left else np.zeros((0, 2))

    def tell(self, X: Matrix, Y: Matrix) -> None:
        """Take results."""
        assert Y.shape == (len(X), 2)


def test_violations_count_true_hazards_and_a_stopped_campaign_keeps_what_it_found(
    monkeypatch: pytest.MonkeyPatch, problem: SafeProblem
) -> None:
    """Seeds count as tests, noise neither makes nor hides a violation, and a value beyond the limit is no find."""
    monkeypatch.setattr(safety, "box_method", lambda name: Scripted)
    rows = safety.campaign("scripted", problem, experiments=40, batch=1)
    assert [round(r["excess"], 6) for r in rows] == [-0.4, -0.3, -0.25, -0.45, -0.1, 0.1]
    line = safety.summary(rows, 2, 10)[0]
    assert (line["experiments"], line["violations"], line["campaigns with one"]) == (6, 1, 1)
    assert line["best feasible % at 5"] == line["at 10"] == pytest.approx(80.0)


def test_wilsons_bound_is_the_published_one() -> None:
    """No event in 1 600 tests bounds the rate at 0.24 %; 8 events at 0.98 %."""
    assert wilson_upper(0, 1600) == pytest.approx(0.00239, abs=1e-5)
    assert wilson_upper(8, 1600) == pytest.approx(0.00983, abs=1e-5)
