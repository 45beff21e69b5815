import numpy as np
import pytest

from benchmarks.problems import SEED_MARGIN, safe_problem


@pytest.mark.parametrize("dimension", [3, 5])
def test_a_third_is_unsafe_and_the_best_of_all_lies_there(dimension: int) -> None:
    """A problem's limit matters: a third of the box passes it, and so does everything that beats the safe optimum."""
    problem = safe_problem(1, dimension)
    X = np.random.default_rng(0).random((20_000, dimension))
    safe = problem.hazard(X) <= problem.limit
    assert 1 - safe.mean() == pytest.approx(1 / 3, abs=0.02)
    assert 0.9 * problem.safe_optimum < problem.value(X[safe]).max() <= problem.safe_optimum + 1e-9
    assert problem.value(X).max() > problem.safe_optimum


def test_a_seed_names_one_problem() -> None:
    """The same seed gives the same problem and the same noise; its safe seeds keep the limit with a margin."""
    one, again = safe_problem(2, 3), safe_problem(2, 3)
    assert np.array_equal(one.safe_seeds, again.safe_seeds)
    assert np.array_equal(one.noise(5), again.noise(5))
    assert one.limit == again.limit
    assert (one.hazard(one.safe_seeds) <= one.limit - SEED_MARGIN).all()
