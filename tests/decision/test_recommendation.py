"""The recommendation: which trial, under which preference, and why."""

import numpy as np
import pytest

from orchestrator.decision import EpsilonConstraint, NoFeasibleChoiceError, Tested, WeightedSum, recommend
from orchestrator.domain import (
    CampaignSpec,
    Candidate,
    Estimate,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    SpecError,
)

SPACE = SearchSpace([RangeParameter("c1", 0.0, 100.0, unit="C")])
TIME, LIFE = Objective("charge_time_min", "minimize"), Objective("cycle_life", "maximize")
COOL = OutcomeConstraint("temperature_max_degC", upper=40.0)
ONE = CampaignSpec(name="one", space=SPACE, objectives=(LIFE,))
TWO = CampaignSpec(name="two", space=SPACE, objectives=(TIME, LIFE))
COOLED = CampaignSpec(name="cooled", space=SPACE, objectives=(TIME, LIFE), constraints=(COOL,))


def trial(number, *, time=None, life=None, temperature=None, posterior=None, source="measured"):
    """A tested trial from (mean, sem) pairs or means."""
    units = {"charge_time_min": (time, "min"), "cycle_life": (life, "cycles"), "temperature_max_degC": (temperature, "degC")}
    measured = {m: estimate(given, source, unit) for m, (given, unit) in units.items() if given is not None}
    believed = {m: estimate(given, "predicted", None) for m, given in (posterior or {}).items()}
    return Tested(number, Candidate({"c1": float(number)}), believed, measured)


def estimate(given, source, unit):
    """An estimate from a mean, or from a mean and its error."""
    mean, sem = given if isinstance(given, tuple) else (given, 0.0)
    return Estimate(mean, sem, source, unit)


def concave_front(n=41):
    """Trials on a quarter circle bent towards the nadir: every chord lies above the front."""
    angles = np.linspace(0, np.pi / 2, n)
    return [trial(i, time=float(np.sin(a)), life=float(1 - np.cos(a))) for i, a in enumerate(angles, 1)]


def test_one_objective_takes_the_best_posterior_mean():
    """A lucky measurement does not win against the surrogate's belief."""
    trials = [
        trial(1, life=900, posterior={"cycle_life": (620, 40)}),
        trial(2, life=700, posterior={"cycle_life": (690, 40)}),
        trial(3, life=650),
    ]
    choice = recommend(ONE, trials)
    assert choice.trial == 2
    assert choice.expected["cycle_life"] == Estimate(690, 40, "predicted", "cycles")
    assert choice.preference == "maximize cycle_life"
    assert choice.why == "Trial 2 has a cycle life of 690 ± 40 cycles: the best expected cycle life of 3 measured trials."


def test_only_completely_measured_trials_are_candidates():
    """A predicted or half-measured outcome is not chosen, however good."""
    trials = [trial(1, time=20, life=500), trial(2, time=10, life=900, source="predicted"), trial(3, time=10)]
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 30})).trial == 1


def test_a_limit_must_hold_with_the_confidence_asked_for():
    """At 24 ± 1 min a limit of 25 min holds with 84 %: kept at confidence 0.8, not at 0.95."""
    trials = [trial(1, time=(24, 1), life=800), trial(2, time=(22, 1), life=600)]
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 25})).trial == 2
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 25}, confidence=0.8)).trial == 1


def test_constraints_must_hold_together_with_limits():
    """Two bounds that each hold with 96 % hold together with 92 %: not enough for 0.95."""
    chance_96 = 1.7507
    trials = [
        trial(1, time=(25 - chance_96, 1), life=800, temperature=(40 - chance_96, 1)),
        trial(2, time=(20, 1), life=600, temperature=(35, 1)),
    ]
    assert recommend(COOLED, trials, EpsilonConstraint({"charge_time_min": 25})).trial == 2


def test_the_reason_can_be_defended():
    """The sentence names the trial, its figures with units, the limit, the confidence and what it was compared with."""
    trials = [trial(17, time=(21.3, 0.2), life=(640, 60)), trial(2, time=20, life=500), trial(3, time=40, life=900)]
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 25})).why == (
        "Trial 17 has a charge time of 21.3 ± 0.2 min and a cycle life of 640 ± 60 cycles; of 3 feasible trials no other keeps "
        "charge time <= 25 min with probability >= 0.95 and has a higher cycle life."
    )


def test_without_a_preference_the_knee_is_stated_as_a_limit():
    """On an L-shaped front the corner is taken, and stating its preference by hand gives the same trial."""
    trials = [
        trial(1, time=(10, 0.5), life=100),
        trial(2, time=(14, 0.5), life=800),
        trial(3, time=(30, 0.5), life=900),
        trial(4, time=(31, 0.5), life=500),
    ]
    choice = recommend(TWO, trials)
    assert choice.trial == 2
    assert choice.preference == "maximize cycle_life subject to charge_time_min <= 14.9 with probability >= 0.95"
    assert "knee" in choice.why
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 14.9})).trial == 2


@pytest.mark.parametrize("seed", range(20))
def test_the_knee_always_finds_a_trial(seed):
    """For random noisy outcomes with constraints at the edge, no stated preference still gives a feasible trial."""
    rng = np.random.default_rng(seed)
    trials = [trial(0, time=(50, 1.0), life=(100, 10), temperature=(40 - 1.6449, 1.0))] if seed % 2 else []
    trials += [
        trial(
            i, time=(rng.normal(30, 8), rng.uniform(0, 3)), life=(rng.normal(600, 200), 40), temperature=(rng.normal(38, 2), 0.5)
        )
        for i in range(1, 15)
    ]
    assert recommend(COOLED, trials).trial is not None


def test_three_objectives_are_limited_but_for_the_last():
    """The knee of three objectives limits two and optimises the third."""
    spec = CampaignSpec(
        name="three",
        space=SPACE,
        objectives=(TIME, Objective("temperature_max_degC", "minimize"), Objective("cycle_life", "maximize")),
    )
    corners = [(10, 40, 300), (40, 25, 300), (40, 40, 900), (18, 29, 760)]
    choice = recommend(spec, [trial(i, time=t, temperature=c, life=n) for i, (t, c, n) in enumerate(corners, 1)])
    assert choice.trial == 4
    assert choice.preference.startswith("maximize cycle_life subject to charge_time_min <= 18 and temperature_max_degC <= 29")


def test_a_weighted_sum_reaches_two_of_41_points_of_a_concave_front():
    """Weights reach the ends alone, limits reach every point: the reason why limits are the default."""
    trials = concave_front()
    weighted = {
        recommend(TWO, trials, WeightedSum({"charge_time_min": w, "cycle_life": 1 - w})).trial for w in np.linspace(0, 1, 101)
    }
    limited = {
        recommend(TWO, trials, EpsilonConstraint({"charge_time_min": t.measured["charge_time_min"].mean})).trial for t in trials
    }
    assert weighted == {1, 41}
    assert limited == set(range(1, 42))


def test_a_weighted_sum_warns_of_what_it_cannot_reach():
    """The reason of a weighted sum carries the warning; weights are scaled, so units do not decide."""
    trials = [trial(1, time=10, life=100), trial(2, time=14, life=800), trial(3, time=30, life=900)]
    choice = recommend(TWO, trials, WeightedSum({"charge_time_min": 1, "cycle_life": 1}))
    assert choice.trial == 2
    assert "cannot reach the concave parts" in choice.why


def test_the_95_percent_rule_keeps_the_true_limit():
    """Of 500 noisy runs the chosen trial truly keeps the limit in >= 93 %; picking by the mean keeps it in far fewer."""
    rng = np.random.default_rng(7)
    truth, kept, kept_by_mean = np.linspace(20, 30, 21), [], []
    for _ in range(500):
        seen = truth + rng.normal(0, 0.5, truth.size)
        trials = [trial(i, time=(float(t), 0.5), life=float(i)) for i, t in enumerate(seen)]
        kept.append(truth[recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 26})).trial] <= 26)
        by_mean = max(i for i, t in enumerate(seen) if t <= 26)
        kept_by_mean.append(truth[by_mean] <= 26)
    assert np.mean(kept) >= 0.93
    assert np.mean(kept_by_mean) <= 0.87


def test_equal_trials_go_to_the_better_evidence_then_to_the_first():
    """Ties are broken by the other objectives, then by the smaller error, then by the lower number."""
    trials = [
        trial(1, time=20, life=(500, 9)),
        trial(3, time=20, life=(500, 5)),
        trial(2, time=20, life=(500, 5)),
        trial(4, time=22, life=500),
    ]
    assert recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 25})).trial == 2


def test_an_infeasible_limit_is_refused_with_the_nearest_feasible_one():
    """The error names a preference that works, and that preference does work."""
    trials = [trial(1, time=(24, 1), life=800), trial(2, time=(22, 1), life=600)]
    with pytest.raises(
        NoFeasibleChoiceError, match=r"nearest preference that is kept is charge_time_min <= 23\.7 \(trial 2\)"
    ) as raised:
        recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 15}))
    assert recommend(TWO, trials, raised.value.nearest).trial == 2


def test_the_nearest_preference_widens_only_what_must_be():
    """A limit that a trial keeps stays as it was stated; a lower bound is widened downwards."""
    trials = [trial(1, time=20, life=400), trial(2, time=60, life=900)]
    with pytest.raises(NoFeasibleChoiceError) as raised:
        recommend(TWO, trials, EpsilonConstraint({"charge_time_min": 25, "cycle_life": 500}))
    assert raised.value.nearest.limits == {"charge_time_min": 25, "cycle_life": 400}


def test_broken_constraints_are_refused_by_name():
    """When no trial keeps the campaign's own constraint the error says which trial comes nearest."""
    trials = [trial(1, time=20, life=400, temperature=(41, 1)), trial(2, time=20, life=400, temperature=(40, 1))]
    with pytest.raises(NoFeasibleChoiceError, match=r"keeps temperature_max_degC <= 40 .* trial 2, with probability 0\.5"):
        recommend(COOLED, trials)


def test_nothing_measured_is_said_plainly():
    """An empty campaign has nothing to choose from, and the error names what was not measured."""
    with pytest.raises(NoFeasibleChoiceError, match="no trial has measured charge_time_min and cycle_life yet"):
        recommend(TWO, [])


@pytest.mark.parametrize("preference", [EpsilonConstraint({"life": 3}), WeightedSum({"life": 1})])
def test_an_unknown_metric_is_refused(preference):
    """A preference on a metric that the campaign does not have names the ones it has, even when nothing was tested."""
    with pytest.raises(SpecError, match=r"life: is not a metric of this campaign. Known: charge_time_min, cycle_life"):
        recommend(TWO, [], preference)
