"""Beta's calibration: what was believed of safe metrics beside what came out."""

import numpy as np
import pytest

from orchestrator.decision import limit_calibration
from orchestrator.decision.limit_calibration import clopper_pearson
from orchestrator.domain import Candidate, Estimate, Trial, TrialStatus

METRIC = "temperature_max_degC"


def dossiers(errors, *, sem=0.0, side="upper", limit=40.0, sd=0.5, beta=3.0):
    """Dossiers and trials whose measured values are off the believed mean 37 by errors (in sds)."""
    sign = 1 if side == "upper" else -1
    decisions, trials = [], []
    for number, error in enumerate(errors, 1):
        belief = {"metric": METRIC, side: limit, "mean": 37.0, "sd": sd, "beta": beta}
        decisions.append({"trial": number, "safety": [belief]})
        measured = Estimate(37.0 + sign * error * float(np.hypot(sd, sem)), sem)
        trials.append(Trial(number, Candidate({"c1": 1.0}), TrialStatus.COMPLETED, outcome={METRIC: measured}))
    return decisions, trials


def test_errors_are_standardised_towards_the_limit():
    """An upper limit counts what came out hotter, a lower one what came out lower; the result's sem is not blamed on beta."""
    for side in ("upper", "lower"):
        (found,) = limit_calibration(*dossiers([0.5, -1.0, 2.5], sem=0.4, side=side, limit=40.0 if side == "upper" else 30.0))
        assert [t.error for t in found.tests] == pytest.approx([0.5, -1.0, 2.5])
        assert found.largest.trial == 3
        assert [found.beyond(k).count for k in (1, 2, 3)] == [1, 1, 0]


def test_the_sentence_tells_counts_beside_what_was_expected():
    """3 of 41 tests beyond 2 sd where 0.9 were expected, and the beta that would have sufficed."""
    (found,) = limit_calibration(*dossiers([0.0] * 38 + [2.1, 2.2, 3.4]))
    said = found.describe()
    assert "3 of 41 tests came out more than 2 sd above what was believed (0.9 expected)" in said
    assert "a beta of 3.4 would have covered every measured value (which holds its own error), 3.0 or more was used" in said


@pytest.mark.parametrize(("side", "measured"), [("upper", 56.3), ("lower", 43.7)])
def test_the_beta_that_covers_all_is_that_of_the_bound(side, measured):
    """Believed 50 +/- 1, measured 6.3 off with a sem of 3: 2 standardised errors, yet only a bound at 6.3 sd holds the value."""
    belief = {"metric": METRIC, side: 60.0 if side == "upper" else 40.0, "mean": 50.0, "sd": 1.0, "beta": 3.0}
    trial = Trial(1, Candidate({"c1": 1.0}), TrialStatus.COMPLETED, outcome={METRIC: Estimate(measured, 3.0)})
    (found,) = limit_calibration([{"trial": 1, "safety": [belief]}], [trial])
    assert found.tests[0].error == pytest.approx(6.3 / np.sqrt(10))
    assert found.covering_beta == pytest.approx(6.3)
    assert "a beta of 6.3 would have covered every measured value" in found.describe()


def test_no_beta_is_needed_where_all_came_out_on_the_far_side():
    """Errors away from the limit: the mean itself is a bound that held."""
    assert limit_calibration(*dossiers([-1.0, -0.3]))[0].covering_beta == 0.0


def test_a_belief_too_sure_is_called_so_and_a_right_one_is_not():
    """Errors twice as wide as believed are not conservative; normal ones are; five tests say nothing."""
    normal = np.random.default_rng(0).standard_normal(60)
    assert limit_calibration(*dossiers(normal))[0].conservative is True
    assert limit_calibration(*dossiers(2.5 * normal))[0].conservative is False
    few = limit_calibration(*dossiers(normal[:5]))[0]
    assert few.conservative is None
    assert "too few to judge" in few.describe()


def test_limits_passed_stand_beside_those_expected():
    """A test believed to stand 1 sd below the limit passes it with 16 %."""
    (found,) = limit_calibration(*dossiers([0.0, 1.5], limit=37.5))
    assert found.passed == 1
    assert found.passed_expected == pytest.approx(2 * 0.1587, abs=1e-3)


def test_what_had_no_belief_or_no_measurement_is_left_out():
    """Safe seeds, running tests and predicted outcomes say nothing of beta."""
    decisions, trials = dossiers([0.0, 0.0, 0.0])
    decisions[0] = {"trial": 1}
    trials[1] = Trial(2, Candidate({"c1": 1.0}), TrialStatus.RUNNING)
    trials[2] = Trial(3, Candidate({"c1": 1.0}), TrialStatus.COMPLETED, outcome={METRIC: Estimate(37.0, 0.1, "predicted")})
    assert limit_calibration(decisions, trials) == []


@pytest.mark.parametrize(("count", "of", "low", "high"), [(0, 10, 0.0, 0.3085), (3, 41, 0.0154, 0.1992), (10, 10, 0.6915, 1.0)])
def test_the_interval_is_the_exact_one(count, of, low, high):
    """Clopper and Pearson's bounds."""
    assert clopper_pearson(count, of) == pytest.approx((low, high), abs=1e-3)
