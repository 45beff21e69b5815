"""Made-up campaigns for reports: every number here is invented."""

import numpy as np
import pytest

from orchestrator.decision import NoFeasibleChoiceError, Tested, hypervolume_trace, pareto_front, recommend
from orchestrator.decision.report_data import ReportData
from orchestrator.domain import (
    Budget,
    CampaignSpec,
    Candidate,
    CandidateTable,
    Estimate,
    Experiment,
    Objective,
    OutcomeConstraint,
    RangeParameter,
    SearchSpace,
    Trial,
    TrialStatus,
)

UNITS = {"charge_time_min": "min", "cycle_life": "cycles", "temperature_max_degC": "degC", "resistance_growth": None}
GOALS = (
    Objective("charge_time_min", "minimize", threshold=45.0),
    Objective("cycle_life", "maximize", threshold=300.0),
    Objective("resistance_growth", "minimize", threshold=2.0),
)
TABLE = [{"id": "<script>alert('id')</script>", "C1": 1.0}, {"id": "a&b", "C1": 6.0}]


def campaign_spec(trials, objectives, table):
    """A fast-charging campaign, over ranges or over a table whose ids try to be markup."""
    ranges = [RangeParameter("c1", 1.0, 6.0, unit="C"), RangeParameter("c2", 1.0, 6.0, unit="C")]
    rows = CandidateTable(rows=TABLE, features=("C1",))
    return CampaignSpec(
        name="fast-charge",
        space=rows if table else SearchSpace(ranges, ["c1 >= c2"]),
        objectives=GOALS[:objectives] if objectives > 1 else GOALS[1:2],
        constraints=(OutcomeConstraint("temperature_max_degC", upper=40.0, safe=True),),
        safe_seed=({"id": "a&b"} if table else {"c1": 1.0, "c2": 1.0},),
        budget=Budget(trials=trials),
        experiment=Experiment(protocol="multistep_charge", cell="lfp_a123", ambient_temperature_degC=30.0),
        seed=7,
    )


def invented_trial(number, rng, table, status):
    """One trial with an outcome that rewards neither the fastest nor the slowest charge."""
    c1 = rng.uniform(1.0, 6.0)
    c2 = rng.uniform(1.0, c1)
    rate = (c1 + c2) / 2
    noise = rng.normal(size=4)
    means = {
        "charge_time_min": 48 / rate * (1 + 0.03 * (c1 - c2) + 0.01 * noise[0]),
        "cycle_life": 1150 - 120 * rate - 9 * (c1 - c2) ** 2 + 45 * noise[1],
        "temperature_max_degC": 31 + 0.55 * rate**1.75 + 0.15 * noise[2],
        "resistance_growth": 1.1 + 0.02 * rate**2 + 0.03 * noise[3],
    }
    sems = {"charge_time_min": 0.2, "cycle_life": 30.0, "temperature_max_degC": 0.2, "resistance_growth": 0.02}
    source = "predicted" if status is TrialStatus.EARLY_STOPPED else "measured"
    outcome = {m: Estimate(v, sems[m], "measured" if m.startswith("t") else source, UNITS[m]) for m, v in means.items()}
    started = 90.0 * ((number - 1) // 8) + rng.uniform(0, 20)
    hours = (
        0.12
        * means["cycle_life"]
        * (0.25 if status is TrialStatus.EARLY_STOPPED else 0.02 if status is TrialStatus.FAILED else 1)
    )
    reasons = {
        TrialStatus.FAILED: "cell shorted at cycle 3",
        TrialStatus.EARLY_STOPPED: "worth less than its channel: P(on front) = 0.02",
    }
    return Trial(
        number=number,
        candidate=Candidate({"C1": c1}, TABLE[number % 2]["id"]) if table else Candidate({"c1": c1, "c2": c2}),
        status=status,
        origin="safe_seed" if number <= 2 else "safe",
        outcome={} if status is TrialStatus.FAILED else outcome,
        cycler="sim",
        channel=str((number - 1) % 8 + 1),
        stopped_because=reasons.get(status),
        started_h=started,
        ended_h=started + hours,
    )


def fade(trial, rng, points=25):
    """A capacity curve that bends down towards the trial's cycle life."""
    life = trial.outcome["cycle_life"].mean
    cycles = np.linspace(1, life, points)
    capacity = 1.07 - 0.02 * (cycles / life) ** 0.5 - 0.17 * (cycles / life) ** 5 + rng.normal(0, 0.0015, points)
    return [{"cycle_count": int(n), "discharge_capacity_Ah": float(q)} for n, q in zip(cycles, capacity, strict=True)]


def made_up_campaign(trials=24, objectives=2, *, seed=0, table=False, all_failed=False, synthetic=True, points=25):
    """The data of a finished campaign with some failures and early stops."""
    rng = np.random.default_rng(seed)
    spec = campaign_spec(max(trials, 1), objectives, table)
    fates = {5: TrialStatus.FAILED, 9: TrialStatus.EARLY_STOPPED, 14: TrialStatus.EARLY_STOPPED}
    run = [
        invented_trial(n, rng, table, TrialStatus.FAILED if all_failed else fates.get(n % 20, TrialStatus.COMPLETED))
        for n in range(1, trials + 1)
    ]
    ended = [t for t in run if t.outcome]
    front = pareto_front(spec.objectives, spec.constraints, {t.number: t.outcome for t in ended})
    posterior = {
        t.number: {m: Estimate(e.mean * 0.995, e.sem * 0.6 + 0.01, "predicted") for m, e in t.outcome.items()} for t in ended
    }
    try:
        choice, refusal = recommend(spec, [Tested(t.number, t.candidate, posterior[t.number], t.measured) for t in ended]), None
    except NoFeasibleChoiceError as error:
        choice, refusal = None, str(error)
    spans = [[(t.number, t.started_h, t.ended_h) for t in run if t.channel == str(c)] for c in range(1, 9)]
    return ReportData(
        spec=spec,
        status="completed",
        status_reason="the budget of trials is spent",
        trials=run,
        units=UNITS,
        front=front,
        hypervolume=hypervolume_trace(spec.objectives, spec.constraints, [t.outcome for t in ended], front.reference_point),
        recommendation=choice,
        no_recommendation=refusal,
        posterior=posterior,
        traces={t.number: fade(t, rng, points) for t in ended},
        channels=[("sim", str(c), span) for c, span in enumerate(spans, 1)] if run else [],
        channel_utilisation=0.83 if run else 0.0,
        lab_time_h=max((t.ended_h for t in run), default=0.0),
        wall_s=118.0,
        synthetic=synthetic,
        events=[(t.ended_h, "stopped", t.number, f"{t.stopped_because}") for t in run if t.stopped_because],
        provenance={"voltloop": "0.1.0", "python": "3.11.2", "spec sha256": spec.sha256, "seed": "7", "lab": "demo <lab>"},
        generated_at="2026-11-22 16:00 UTC",
    )


@pytest.fixture
def campaign():
    """A factory of made-up campaigns."""
    return made_up_campaign
