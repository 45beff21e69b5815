"""Candidate -> protocol -> run request."""

from dataclasses import replace

import pytest

from orchestrator.domain import (
    CampaignSpec,
    Candidate,
    CandidateTable,
    ChoiceParameter,
    ConstantCurrent,
    ContextParameter,
    Experiment,
    LinearConstraint,
    Objective,
    RangeParameter,
    SafetyLimits,
    SearchSpace,
    SpecError,
    UnsafeProtocolError,
)
from orchestrator.representation.requests import protocol_for, representation_faults, run_request


def fast_charge(**changes) -> CampaignSpec:
    spec = CampaignSpec(
        "fast",
        SearchSpace((RangeParameter("c1", 1.0, 6.0, unit="C"), RangeParameter("c2", 1.0, 6.0))),
        (Objective("charge_time_min", "minimize"),),
        experiment=Experiment("multistep_charge", "lfp_a123", fixed={"discharge_rate_C": 4.0}),
        safety_limits=SafetyLimits(max_voltage_V=3.65, min_voltage_V=1.9, max_temperature_degC=55.0),
    )
    return replace(spec, **changes)


def test_each_rate_takes_an_equal_share_of_the_charge_to_80_percent():
    """Two rates: 0.44 Ah each of 1.1 Ah, currents in ampere, then 1C and constant voltage."""
    steps = [
        s
        for s in protocol_for(fast_charge(), Candidate({"c1": 4.0, "c2": 2.0})).steps
        if isinstance(s, ConstantCurrent) and s.charging
    ]
    assert [(s.current_A, s.until_capacity_Ah) for s in steps] == [
        (4.4, pytest.approx(0.44)),
        (2.2, pytest.approx(0.44)),
        (1.1, None),
    ]


def with_checkup(**changes):
    return replace(fast_charge(), experiment=replace(fast_charge().experiment, checkup="reference_performance", **changes))


def test_a_check_up_goes_with_every_request_alike():
    """Under the spec's limits, the same for every candidate; a spec that names none asks for none."""
    spec = with_checkup(impedance_every_checkups=2)
    requests = [run_request(spec, Candidate({"c1": c, "c2": 1.0}), key="k", channel="1") for c in (2.0, 4.0)]
    assert requests[0].checkup == requests[1].checkup
    assert requests[0].checkup.limits.max_temperature_degC == 55.0
    assert requests[0].impedance_every_checkups == 2
    assert representation_faults(spec) == []
    assert run_request(fast_charge(), Candidate({"c1": 2.0, "c2": 1.0}), key="k", channel="1").checkup is None


def test_a_check_up_that_cannot_be_is_a_fault_of_the_spec():
    """A template nobody has, or a step past the spec's limits, under the name of the field."""
    unknown = replace(fast_charge(), experiment=replace(fast_charge().experiment, checkup="reference"))
    (fault,) = representation_faults(unknown)
    assert fault.where == "experiment.checkup"
    assert "'reference' is no protocol template" in str(fault)
    tight = replace(with_checkup(), safety_limits=SafetyLimits(max_voltage_V=3.5))
    assert any(f.where.startswith("experiment.checkup.steps") for f in representation_faults(tight))


def test_the_specs_limits_go_with_the_protocol():
    """The tighter of the maker's window and the spec's limits reaches the cycler."""
    limits = protocol_for(fast_charge(), Candidate({"c1": 4.0, "c2": 2.0})).limits
    assert limits.named == {"max_voltage_V": 3.6, "min_voltage_V": 2.0, "max_temperature_degC": 55.0, "max_current_A": 11.0}


def test_a_step_past_a_limit_never_becomes_a_request():
    """The fault names the step, the value and the limit."""
    spec = fast_charge(safety_limits=SafetyLimits(max_voltage_V=3.5))
    with pytest.raises(UnsafeProtocolError, match=r"3.6 V is past the limit max_voltage_V = 3.5 V"):
        run_request(spec, Candidate({"c1": 4.0, "c2": 2.0}), key="k", channel="1")
    assert representation_faults(spec)[0].where.startswith("experiment.protocol.steps[3]")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"experiment": Experiment("multistep", "lfp_a123")}, "'multistep' is no protocol template"),
        ({"experiment": Experiment("two_step_charge", "lfp_a123")}, "Add the parameter C1"),
        ({"experiment": Experiment("cc_cv", "lfp_a123")}, "changes nothing in the protocol 'cc_cv'"),
        ({"experiment": Experiment("multistep_charge", "lfp_a123", fixed={"dischrge_rate_C": 4.0})}, "changes nothing"),
        ({"experiment": Experiment("multistep_charge", "lfp_a123", fixed={"c1": 4.0})}, "is fixed and varies at once"),
        ({"space": SearchSpace((RangeParameter("c1", 1.0, 60.0),))}, "0 < c1 <= 10 C"),
    ],
)
def test_what_a_template_cannot_use_is_told_before_anything_runs(changes, named):
    """Unknown templates, missing, idle and impossible parameters are faults of the spec."""
    assert named in " ".join(map(str, representation_faults(fast_charge(**changes))))


def test_two_step_charge_is_severson_s():
    """C1 until Q1, C2 until 80 %, then 1C."""
    spec = fast_charge(
        space=SearchSpace((RangeParameter("C1", 1.0, 8.0), RangeParameter("C2", 1.0, 8.0), RangeParameter("Q1_pct", 10.0, 80.0))),
        experiment=Experiment("two_step_charge", "lfp_a123"),
    )
    assert representation_faults(spec) == []
    charges = [
        s for s in protocol_for(spec, Candidate({"C1": 5.4, "C2": 3.6, "Q1_pct": 40.0})).steps if getattr(s, "charging", False)
    ]
    assert [s.until_capacity_Ah for s in charges] == [pytest.approx(0.44), pytest.approx(0.44), None]


def test_a_request_s_hash_is_of_what_is_done_to_the_cell():
    """Key and channel do not count; the candidate, the protocol and the cell do."""
    spec, slow, fast = fast_charge(), Candidate({"c1": 2.0, "c2": 2.0}), Candidate({"c1": 3.0, "c2": 2.0})
    first = run_request(spec, slow, key="a", channel="1")
    assert first.content_sha256 == run_request(spec, slow, key="b", channel="2").content_sha256
    assert first.content_sha256 != run_request(spec, fast, key="a", channel="1").content_sha256


def test_a_table_s_columns_may_describe_the_cell():
    """Columns that no template reads are no fault of a table."""
    table = CandidateTable(({"formula": "LiCoO2"}, {"formula": "LiFePO4"}), ("formula",))
    assert representation_faults(fast_charge(space=table, experiment=Experiment(), safety_limits=SafetyLimits())) == []


def test_a_missing_parameter_is_asked_for_by_name():
    """A template says what it needs."""
    with pytest.raises(SpecError, match="needs parameters c1, c2"):
        protocol_for(fast_charge(space=SearchSpace((RangeParameter("x", 0.0, 1.0),))), Candidate({"x": 0.5}))


def optional_step(**changes) -> CampaignSpec:
    """Two or three charging steps whose rates sum up alike, in a chamber that is a parameter."""
    rates = [RangeParameter(name, 1.0, 6.0) for name in ("c1", "c2")]
    space = SearchSpace(
        (
            ChoiceParameter("steps", (2, 3)),
            *rates,
            RangeParameter("c3", 1.0, 6.0, only_if={"steps": [3]}),
            RangeParameter("ambient_temperature_degC", 20.0, 40.0),
        ),
        ("c1 + c2 + c3 == 9", LinearConstraint("c1 + c2 == 6", only_if={"steps": [2]})),
    )
    return fast_charge(**{"space": space, **changes})


def test_a_template_gets_a_candidate_without_what_does_not_exist():
    """Two shares or three; a composition has no corner, and is checked where each parameter is least and greatest."""
    spec = optional_step()
    assert representation_faults(spec) == []
    two, three = Candidate({"steps": 2, "c1": 2.0, "c2": 4.0}), Candidate({"steps": 3, "c1": 2.0, "c2": 4.0, "c3": 3.0})
    shares = [
        [s.until_capacity_Ah for s in protocol_for(spec, c).steps if getattr(s, "charging", False)][:-1] for c in (two, three)
    ]
    assert shares == [[pytest.approx(0.44)] * 2, [pytest.approx(0.88 / 3)] * 3]


def test_fixed_says_what_holds_where_a_parameter_does_not_exist():
    """A default for the absent, and no clash with the present."""
    fixed = Experiment("multistep_charge", "lfp_a123", fixed={"c3": 1.5})
    spec = optional_step(experiment=fixed)
    assert representation_faults(spec) == []
    two, three = Candidate({"steps": 2, "c1": 2.0, "c2": 4.0}), Candidate({"steps": 3, "c1": 2.0, "c2": 4.0, "c3": 3.0})
    rates = [
        [round(s.current_A / 1.1, 6) for s in protocol_for(spec, c).steps if getattr(s, "charging", False)][:-1]
        for c in (two, three)
    ]
    assert rates == [[2.0, 4.0, 1.5], [2.0, 4.0, 3.0]]


@pytest.mark.parametrize(
    "parameter",
    [
        RangeParameter("ambient_temperature_degC", 20.0, 40.0, shared=True),
        ContextParameter("ambient_temperature_degC", 20.0, 40.0, value=30.0),
    ],
)
def test_a_chamber_s_temperature_may_be_a_parameter(parameter):
    """It reaches the request in place of the experiment's, and is no idle parameter."""
    spec = fast_charge(space=SearchSpace((RangeParameter("c1", 1.0, 6.0), parameter)))
    assert representation_faults(spec) == []
    request = run_request(spec, Candidate({"c1": 2.0, "ambient_temperature_degC": 35.0}), key="k", channel="1")
    assert request.ambient_temperature_degC == 35.0
    plain = fast_charge(space=SearchSpace((RangeParameter("c1", 1.0, 6.0),)))
    assert run_request(plain, Candidate({"c1": 2.0}), key="k", channel="1").ambient_temperature_degC == 25.0


def test_an_idle_parameter_is_found_where_it_exists():
    """A conditional parameter is moved where its choice has it; context may change nothing in a protocol."""
    kind = ChoiceParameter("kind", ("plain", "odd"))
    odd = RangeParameter("wobble", 0.0, 1.0, only_if={"kind": ["odd"]})
    room = ContextParameter("humidity_pct", 0, 100, value=40)
    spec = fast_charge(space=SearchSpace((RangeParameter("c1", 1.0, 6.0), kind, odd, room)))
    assert [f.where for f in representation_faults(spec)] == ["space.parameters.kind", "space.parameters.wobble"]
