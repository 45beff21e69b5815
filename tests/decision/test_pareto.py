"""The front and its hypervolume."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.decision import hypervolume, hypervolume_trace, infer_reference_point, non_dominated_mask, pareto_front
from orchestrator.domain import Estimate, Objective, OutcomeConstraint, SpecError

TIME = Objective("charge_time_min", "minimize", threshold=45.0)
LIFE = Objective("cycle_life", "maximize", threshold=300.0)
COOL = OutcomeConstraint("temperature_max_degC", upper=40.0, safe=True)


def outcome(time, life, temperature=35.0, source="measured"):
    """One trial's estimates."""
    values = {"charge_time_min": time, "cycle_life": life, "temperature_max_degC": temperature}
    return {m: Estimate(v, 0.0, source) for m, v in values.items() if v is not None}


def brute_force(Y, maximize):
    """The definition of dominance, pair by pair."""
    gains = np.where(maximize, Y, -Y)
    dominated = [any((q >= p).all() and (q > p).any() for q in gains) for p in gains]
    return ~np.array(dominated, dtype=bool)


def test_the_mask_is_botorchs_on_tie_heavy_sets():
    """On 100 sets full of ties, with two to four objectives, the mask equals BoTorch's with duplicates kept."""
    import torch
    from botorch.utils.multi_objective.pareto import is_non_dominated

    rng = np.random.default_rng(0)
    for case in range(100):
        m = 2 + case % 3
        Y = rng.integers(0, 4 + case % 5, size=(int(rng.integers(1, 60)), m)).astype(float)
        expected = is_non_dominated(torch.as_tensor(Y), deduplicate=False).numpy()
        assert (non_dominated_mask(Y, [True] * m) == expected).all()
        assert (non_dominated_mask(-Y, [False] * m) == expected).all()


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.tuples(st.integers(0, 30), st.just(3)), elements=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])),
       st.lists(st.booleans(), min_size=3, max_size=3))  # fmt: skip
def test_the_mask_is_the_definition(Y, maximize):
    """For any mixture of goals the mask is what the definition of dominance says."""
    assert (non_dominated_mask(Y, maximize) == brute_force(Y, maximize)).all()


def test_a_front_of_ten_thousand_points_is_found_whole():
    """Points on a sphere do not dominate one another; 10 000 of them all stay, and points inside all go."""
    directions = np.abs(np.random.default_rng(1).normal(size=(10_000, 3))) + 1e-3
    sphere = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    mask = non_dominated_mask(np.vstack([sphere, 0.5 * sphere[:100]]), [True] * 3)
    assert mask[:10_000].all()
    assert not mask[10_000:].any()


def test_rows_with_nan_never_stand_on_the_front():
    """A row with a missing value is off the front and dominates nothing."""
    assert non_dominated_mask([[np.nan, 9.0], [1.0, 1.0], [1.0, 1.0], [0.0, 2.0]], [True, True]).tolist() == [
        False, True, True, True,
    ]  # fmt: skip
    assert not non_dominated_mask([[np.nan, np.nan]], [True, True]).any()
    assert non_dominated_mask([], [True, True]).shape == (0,)


@pytest.mark.parametrize("Y", [[1.0, 2.0], [[1.0]], [[[1.0, 2.0]]]])
def test_a_table_of_the_wrong_shape_is_refused(Y):
    """The message names the shape that was wanted and the one that came."""
    with pytest.raises(SpecError, match=r"shape \(n, 2\)"):
        non_dominated_mask(Y, [True, True])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_hypervolume_is_botorchs(m):
    """Exact for two and more objectives, ties and points behind the reference included."""
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    rng = np.random.default_rng(m)
    for _ in range(10):
        Y = np.round(rng.uniform(-0.3, 1.0, size=(25, m)), 1)
        better = torch.as_tensor(Y[(Y > 0).all(axis=1) & non_dominated_mask(Y, [True] * m)])
        expected = Hypervolume(torch.zeros(m, dtype=torch.float64)).compute(better)
        assert hypervolume(Y, [0.0] * m, [True] * m) == pytest.approx(expected)
        assert hypervolume(-Y, [0.0] * m, [False] * m) == pytest.approx(expected)


def test_one_objective_counts_the_best_improvement():
    """With one objective the hypervolume is how far the best value passes the reference, never negative."""
    assert hypervolume([[3.0], [5.0], [np.nan]], [2.0], [True]) == 3.0
    assert hypervolume([[3.0], [5.0]], [2.0], [False]) == 0.0
    assert hypervolume([], [2.0], [False]) == 0.0


def test_only_measured_feasible_trials_stand_on_the_front():
    """Predicted, too hot, unmeasured or dominated trials are not on the front and do not count."""
    outcomes = {
        1: outcome(30, 500),
        2: outcome(20, 400),
        3: outcome(35, 450),
        4: outcome(15, 900, source="predicted"),
        5: outcome(15, 900, temperature=41.0),
        6: outcome(15, 900, temperature=None),
        7: outcome(15, None),
        9: outcome(20, 400),
    }
    front = pareto_front([TIME, LIFE], [COOL], outcomes)
    assert front.trials == [1, 2, 9]
    assert front.hypervolume == pytest.approx(15 * 200 + 10 * 100)
    assert front.reference_point == {"charge_time_min": 45.0, "cycle_life": 300.0}


def test_nothing_measured_gives_an_empty_front():
    """No outcome is no front, not an error."""
    assert pareto_front([TIME, LIFE], [COOL], {}).trials == []
    assert pareto_front([TIME, LIFE], [COOL], {3: outcome(15, 900, source="predicted")}).hypervolume == 0.0


def test_the_reference_point_is_thresholds_then_the_measured_nadir():
    """Thresholds go first; a missing one stands 10 % of the range behind the worst measured value."""
    free = [Objective("charge_time_min", "minimize"), LIFE]
    outcomes = {1: outcome(20, 400), 2: outcome(30, 500), 3: outcome(90, 100, source="predicted")}
    assert infer_reference_point(free, outcomes) == {"charge_time_min": pytest.approx(31.0), "cycle_life": 300.0}
    assert infer_reference_point([TIME, LIFE], {}) == {"charge_time_min": 45.0, "cycle_life": 300.0}


def test_the_reference_point_waits_until_it_can_be_inferred():
    """Without thresholds one measured trial is not enough, and the front then has no hypervolume."""
    free = [Objective("charge_time_min", "minimize"), Objective("cycle_life", "maximize")]
    assert infer_reference_point(free, {}) is None
    assert infer_reference_point(free, {1: outcome(20, 400)}) is None
    assert pareto_front(free, [], {1: outcome(20, 400)}).reference_point == {}
    assert hypervolume_trace(free, [], [outcome(20, 400)], None) == [0.0]


def test_one_objective_refers_to_the_worst_measured():
    """A single objective needs no threshold."""
    life = [Objective("cycle_life", "maximize")]
    outcomes = {1: outcome(None, 400), 2: outcome(None, 700)}
    assert infer_reference_point(life, outcomes) == {"cycle_life": 400.0}
    assert pareto_front(life, [], outcomes).trials == [2]
    assert pareto_front(life, [], outcomes).hypervolume == 300.0


def test_the_trace_has_one_entry_an_outcome_and_never_falls():
    """Each outcome adds one entry in order of arrival; what does not count leaves the value as it was."""
    arrivals = [
        outcome(44, 200),
        outcome(30, 500),
        outcome(15, 900, source="predicted"),
        outcome(20, 400),
        outcome(15, 900, 50.0),
    ]
    trace = hypervolume_trace([TIME, LIFE], [COOL], arrivals, {"charge_time_min": 45.0, "cycle_life": 300.0})
    assert trace == pytest.approx([0.0, 3000.0, 3000.0, 4000.0, 4000.0])
    assert hypervolume_trace([TIME, LIFE], [COOL], [], {"charge_time_min": 45.0, "cycle_life": 300.0}) == []


def test_importing_the_room_is_cheap():
    """`orchestrator.decision` loads neither torch nor plotly."""
    code = (
        "import orchestrator.decision, sys; print([m for m in ('torch', 'botorch', 'plotly', 'scipy.stats') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
