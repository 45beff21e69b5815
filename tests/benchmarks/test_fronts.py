import numpy as np
import pytest

from benchmarks.fronts import PROBLEMS, FrontProblem


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_only_feasible_results_count(name: str) -> None:
    """Random points dominate less than what is possible, and nothing once their limit is passed."""
    problem = FrontProblem(name)
    task = problem.task(40, seed=0)
    Y = problem.measure(np.random.default_rng(0).random((64, task.dimension)))
    assert Y.shape == (64, len(task.metrics))
    assert 0 < problem.hypervolume(Y) < problem.best
    Y[:, -1] = 1.0
    assert problem.hypervolume(Y) == 0.0
