import numpy as np
import pytest

from benchmarks.latency import data, growth, medians


def test_the_growth_exponent_is_the_slope_of_logarithms() -> None:
    """Times that follow a power law give its exponent, and no error."""
    exponent, error = growth({n: 0.01 * n**1.5 for n in (100, 316, 1000)})
    assert exponent == pytest.approx(1.5)
    assert error == pytest.approx(0.0, abs=1e-6)


def test_every_repeat_has_data_of_its_own_and_one_result_more() -> None:
    """Repeats are other campaigns, not the same one cached; medians are taken over them."""
    (_, X, Y), (_, other, _) = data(30, 0), data(30, 1)
    assert X.shape == (31, 4)
    assert Y.shape == (31, 3)
    assert not np.isin(X, other).any()
    rows = [{"trials": 30, "tick": t} for t in (3.0, 1.0, 2.0)]
    assert medians(rows, "tick") == {30: 2.0}
