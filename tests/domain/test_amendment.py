"""Changes to a spec: what they may be, what differs, what earlier candidates become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain import (
    Budget,
    CampaignSpec,
    Candidate,
    CandidateTable,
    ChoiceParameter,
    DerivedParameter,
    Experiment,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SafetyLimits,
    SearchSpace,
    SpecError,
)
from orchestrator.domain.amendment import Amendment, as_of_today, read_amendment
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.value import content_hash, from_plain, to_plain

Amend = Callable[..., Amendment]


@pytest.fixture
def spec() -> CampaignSpec:
    return CampaignSpec(
        name="fast",
        space=SearchSpace(
            (RangeParameter("c1", 1.0, 6.0, unit="C"), RangeParameter("c2", 1.0, 6.0, unit="C")), (LinearConstraint("c1 >= c2"),)
        ),
        objectives=(Objective("charge_time_min", "minimize", threshold=60.0), Objective("cycle_life", "maximize")),
        constraints=(
            OutcomeConstraint("temperature_max_degC", upper=45.0, safe=True),
            OutcomeConstraint("capacity_Ah", lower=0.9, upper=1.2),
        ),
        safe_seed=({"c1": 1.5, "c2": 1.0}, {"c1": 5.5, "c2": 1.0}),
        budget=Budget(24, channel_hours=500.0),
        experiment=Experiment("two_step_cc", "lfp_a123", fixed={"soc_switch": 0.8}),
        cyclers=(CyclerSpec("sim", "simulated", {"channels": 4}),),
    )


@pytest.fixture
def amend(tmp_path: Path, spec: CampaignSpec) -> Amend:
    """Reads changes to the campaign, or to another, from a file."""

    def read(text: str, standing: CampaignSpec = spec, **further) -> Amendment:
        path = tmp_path / "changes.toml"
        path.write_text(text)
        return read_amendment(path, standing, **further)

    return read


def faults(amend: Amend, text: str, *standing: CampaignSpec) -> list[str]:
    with pytest.raises(SpecError) as error:
        amend(text, *standing)
    return str(error.value).splitlines()


def test_tables_merge_and_what_changed_is_told(amend, spec):
    """Only the fields given change, each told with its old and new value."""
    amendment = amend(
        "prefetch = 2\n[budget]\ntrials = 40\n[safety_limits]\nmax_temperature_degC = 50\n[approval]\nmode = 'every'"
    )
    assert amendment.spec == replace(
        spec,
        prefetch=2,
        budget=Budget(40, channel_hours=500.0),
        safety_limits=SafetyLimits(max_temperature_degC=50.0),
        approval=replace(spec.approval, mode="every"),
    )
    assert [str(change) for change in amendment.changes] == [
        "budget.trials: 24 -> 40",
        "safety_limits.max_temperature_degC: 50.0 (new)",
        "approval.mode: none -> every",
        "prefetch: 2 (new)",
    ]
    assert amendment.past_values == {}


def test_entries_of_lists_find_their_namesakes(amend, spec):
    """Objectives and constraints are told apart by metric, parameters and cyclers by name; the rest of an entry stays."""
    new = amend(
        """
[[constraints]]
metric = "capacity_Ah"
upper = 1.1
[[constraints]]
metric = "resistance_Ohm"
upper = 0.1
[[objectives]]
metric = "cycle_life"
threshold = 300
[[space.parameters]]
name = "c2"
lower = 0.5
[[cyclers]]
name = "sim"
channels = 8
[[cyclers]]
name = "second"
kind = "simulated"
channels = 2
"""
    ).spec
    assert new.constraints == (
        spec.constraints[0],
        OutcomeConstraint("capacity_Ah", lower=0.9, upper=1.1),
        OutcomeConstraint("resistance_Ohm", upper=0.1),
    )
    assert new.objectives == (spec.objectives[0], Objective("cycle_life", "maximize", threshold=300.0))
    assert new.space.parameters == (spec.space.parameters[0], RangeParameter("c2", 0.5, 6.0, unit="C"))
    assert new.space.constraints == spec.space.constraints
    assert [(c.name, c.options["channels"]) for c in new.cyclers] == [("sim", 8), ("second", 2)]


def test_fields_and_entries_can_be_taken_out(amend):
    """`remove = true` takes out a constraint, `remove = [...]` a bound, a limit or a threshold."""
    new = amend(
        """
[budget]
remove = ["channel_hours"]
[[constraints]]
metric = "temperature_max_degC"
remove = true
[[constraints]]
metric = "capacity_Ah"
remove = ["upper"]
[[objectives]]
metric = "charge_time_min"
remove = ["threshold"]
"""
    ).spec
    assert new.budget == Budget(24)
    assert new.constraints == (OutcomeConstraint("capacity_Ah", lower=0.9),)
    assert new.objectives[0].threshold is None


def test_constraints_of_the_space_are_replaced_as_a_list(amend):
    """What is left out of the list holds no longer."""
    assert [c.text for c in amend('[space]\nconstraints = ["c1 + c2 <= 9"]').spec.space.constraints] == ["c1 + c2 <= 9"]


def test_every_fault_is_told_at_once_with_its_line(amend):
    """What cannot be read, what cannot be merged and what may not change, at the lines of the file of changes."""
    told = faults(
        amend,
        """name = "other"
nonsense = 1
[experiment]
max_cycles = 3
[budget]
trials = 0
remove = ["trails"]
[[constraints]]
metric = "q"
remove = true
[[constraints]]
metric = "capacity_Ah"
lower = 3.0
[[objectives]]
metric = "cycle_life"
goal = "minimize"
[[space.parameters]]
name = "c1"
type = "integer"
lower = 1
upper = 5
[[space.parameters]]
name = "rest_min"
lower = 0
upper = 5
""",
    )
    assert [line.split(":")[0] for line in told] == [f"line {n}" for n in (1, 2, 3, 6, 7, 8, 11, 16, 19, 22)]
    assert told[0].startswith("line 1: name: cannot be amended")
    assert told[0].endswith("Start a new campaign.")
    assert "lower must be below upper" in told[6]
    assert "Give past = VALUE (between 0 and 5)." in told[9]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("seed = 9", "seed: cannot be amended"),
        ("[experiment]\nend_of_life = 0.7", "experiment: cannot be amended"),
        ("[experiment.fixed]\nsoc_switch = 0.5", "experiment: cannot be amended"),
        ('[[objectives]]\nmetric = "energy_Wh"\ngoal = "maximize"', "energy_Wh was no objective"),
        ('[[objectives]]\nmetric = "cycle_life"\nremove = true', "cycle_life is what earlier trials were proposed for"),
        ('[[objectives]]\nmetric = "cycle_life"\nat_cycle = 100', "cycle_life would mean something else"),
        ('[[space.parameters]]\nname = "c1"\nremove = true', "c1 is a parameter of every earlier trial"),
        ('[[space.parameters]]\nname = "c1"\nunit = "A"', "c1 is in C in every earlier trial"),
        ('[[space.parameters]]\nname = "c1"\nvalues = [1, 2]', "c1 is of type range"),
        ('[[cyclers]]\nname = "sim"\nremove = true', "sim may have tests that must be followed"),
        ('[[cyclers]]\nname = "sim"\nkind = "replay"', "'sim' is of kind simulated"),
        ('[[space.parameters]]\nname = "c1"\nupper = 5\npast = 2', "c1.past: is for a parameter that is added"),
    ],
)
def test_what_tests_have_in_common_cannot_change(amend, text, why):
    """Each refusal says what and why, alone."""
    told = faults(amend, text)
    assert len(told) == 1
    assert why in told[0]


def test_the_whole_spec_may_be_given(amend, spec):
    """A person may hand in the spec file edited: what is as it was changes nothing, and nothing but that is refused."""
    whole = """name = "fast"
seed = 0
[experiment]
cell = "lfp_a123"
protocol = "two_step_cc"
fixed = {soc_switch = 0.8}
[[safe_seed]]
c1 = 1.5
c2 = 1.0
"""
    assert faults(amend, whole) == ["nothing would change: every field given is as it stands."]
    assert amend(whole + "[budget]\ntrials = 25").spec == replace(spec, budget=Budget(25, channel_hours=500.0))


def test_an_added_parameter_completes_what_was_before(amend, spec):
    """Earlier candidates and safe seeds have the past value; the past value must be one that the parameter may have."""
    text = '[[space.parameters]]\nname = "rest_min"\nlower = 0\nupper = 30\nunit = "min"\npast = {past}'
    amendment = amend(text.format(past=10))
    assert amendment.past_values == {"rest_min": 10}
    assert amendment.spec.safe_seed == tuple({**seed, "rest_min": 10} for seed in spec.safe_seed)
    today = as_of_today(Candidate({"c1": 2.0, "c2": 1.5}), amendment.spec.space, amendment.past_values)
    assert today == Candidate({"c1": 2.0, "c2": 1.5, "rest_min": 10})
    assert not amendment.spec.space.violations(today)
    assert faults(amend, text.format(past=31)) == [
        "line 6: space.parameters.rest_min.past: rest_min = 31 is not between 0 and 30 min. Widen it to hold it."
    ]


def test_what_was_fixed_can_become_a_parameter(amend, spec):
    """Its past value is the one that was fixed; another cannot be claimed."""
    text = '[[space.parameters]]\nname = "soc_switch"\nlower = 0.4\nupper = 0.9\n'
    amendment = amend(text)
    assert amendment.past_values == {"soc_switch": 0.8}
    assert amendment.spec.experiment == replace(spec.experiment, fixed={})
    assert "earlier trials had soc_switch = 0.8, not 0.5" in faults(amend, f"{text}past = 0.5")[0]


def test_parameters_that_exist_under_a_choice_complete_only_there(spec):
    """A past value is put in where its parameter exists, choices before what rests on them, and what is computed follows."""
    space = SearchSpace(
        (
            RangeParameter("c1", 1.0, 6.0),
            ChoiceParameter("pulse", ("yes", "no")),
            RangeParameter("pulse_s", 1.0, 9.0, only_if={"pulse": ("yes",)}),
            DerivedParameter("charge", "c1 * 2"),
        )
    )
    past = {"pulse_s": 3.0, "pulse": "yes"}
    assert as_of_today(Candidate({"c1": 2.0}), space, past).parameters == {
        "c1": 2.0,
        "pulse": "yes",
        "pulse_s": 3.0,
        "charge": 4.0,
    }
    assert as_of_today(Candidate({"c1": 2.0}), space, {**past, "pulse": "no"}).parameters == {
        "c1": 2.0,
        "pulse": "no",
        "charge": 4.0,
    }
    there = Candidate({"c1": 2.0, "pulse": "no", "charge": 4.0})
    assert as_of_today(there, space, {"pulse_s": 3.0}) is there


def test_safe_seeds_outside_new_bounds_are_left_out(amend, spec):
    """Bounds that exclude a seed take it out and say so; without any left, safety has nothing to stand on."""
    amendment = amend('[[space.parameters]]\nname = "c1"\nupper = 5.0')
    assert amendment.spec.safe_seed == spec.safe_seed[:1]
    assert [change.where for change in amendment.changes] == ["space.parameters.c1.upper", "safe_seed"]
    assert (
        "safe_seed: is missing: the new bounds exclude every safe seed (c1 = 1.5 is not between"
        in faults(amend, '[[space.parameters]]\nname = "c1"\nlower = 5.6')[0]
    )
    again = amend('[[space.parameters]]\nname = "c1"\nlower = 5.6\n[[safe_seed]]\nc1 = 5.8\nc2 = 1.0')
    assert again.spec.safe_seed == ({"c1": 5.8, "c2": 1.0},)
    told = faults(amend, '[[space.parameters]]\nname = "c1"\nlower = 5.6\n[[safe_seed]]\nc1 = 5.8\nc2 = 0.1')
    assert told[0].startswith("line 6: safe_seed[0].c2" if "[0].c2" in told[0] else "line 4: safe_seed[0]")


def test_rows_can_be_added_to_a_table(amend, spec, tmp_path):
    """Rows are added by a longer file; one that is missing or differs is named."""
    rows = tuple({"id": f"m{i}", "x": float(i)} for i in range(3))
    standing = CampaignSpec(name="t", space=CandidateTable(rows, ("x",)), objectives=(Objective("cycle_life", "maximize"),))
    (tmp_path / "more.csv").write_text("id,x\nm0,0.0\nm1,1.0\nm2,2.0\nm3,3.5\n")
    amendment = amend('[space]\ntable = "more.csv"', standing)
    assert amendment.spec.space.ids == ("m0", "m1", "m2", "m3")
    assert [change.where for change in amendment.changes] == ["space.rows.m3"]
    (tmp_path / "more.csv").write_text("id,x\nm0,0.0\nm1,1.5\nm3,3.5\n")
    told = faults(amend, '[space]\ntable = "more.csv"', standing)
    assert ["row 'm1' is another" in told[0], "row 'm2' is missing" in told[1], len(told)] == [True, True, 2]


def test_cyclers_added_to_the_default_stand_beside_it(amend, spec):
    """A campaign that named none keeps the one it runs on."""
    standing = replace(spec, cyclers=())
    text = '[[cyclers]]\nname = "more"\nkind = "simulated"'
    new = amend(text, standing, default_cyclers=(CyclerSpec("sim", "simulated", {"channels": 8}),)).spec
    assert [c.name for c in new.cyclers] == ["sim", "more"]


def test_an_amended_spec_travels_as_it_is(amend):
    """What is stored and read again is the same spec, with the same hash."""
    new = amend('[[space.parameters]]\nname = "rest_min"\nlower = 0\nupper = 30\npast = 0').spec
    plain = to_plain(new)
    assert from_plain(CampaignSpec, plain) == new
    assert content_hash(to_plain(from_plain(CampaignSpec, plain))) == new.sha256


def test_checks_of_other_rooms_are_told_at_their_lines(amend):
    """A fault of an entry is told where the file of changes gives it, wherever the entry stands in the spec."""
    from orchestrator.domain.errors import Fault

    def further(sections):
        return [Fault(f"constraints[{i}].metric", "unheard of.") for i, _ in enumerate(sections["constraints"])]

    with pytest.raises(SpecError) as error:
        amend(
            '[[constraints]]\nmetric = "new"\nupper = 1\n[[constraints]]\nmetric = "capacity_Ah"\nupper = 1.1', further=[further]
        )
    assert str(error.value).splitlines() == [
        "constraints.temperature_max_degC.metric: unheard of.",
        "line 2: constraints[0].metric: unheard of.",
        "line 5: constraints[1].metric: unheard of.",
    ]
