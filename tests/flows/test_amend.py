"""Campaigns amended while they run: what waits is withdrawn, what runs is flagged, nothing starts under old limits."""

import json
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select, update

from adapters.peers.injected_faults import FaultKind, InjectedFault
from adapters.replay import ReplayCycler
from flows import Lab, advance_campaign, resume_campaign, run_campaign, start_campaign
from flows.amend import Patience, amend_campaign
from flows.cli import main
from flows.examples import write_template
from flows.report import write_report
from flows.result import campaign_result
from flows.spec_check import check_file
from orchestrator.domain import (
    Approval,
    Budget,
    CampaignSpec,
    Experiment,
    IntegerParameter,
    Objective,
    SafetyLimits,
    SearchSpace,
    SpecError,
    TrialStatus,
)
from orchestrator.domain.amendment import read_amendment
from orchestrator.domain.campaign_spec import CyclerSpec
from orchestrator.domain.errors import CampaignError
from orchestrator.store.engine import system_now
from orchestrator.store.process import this_process
from orchestrator.store.tables import LockRow

ROWS = tuple(
    {
        "charge_rate_C": charge,
        "discharge_rate_C": discharge,
        "result": 10.0 - (charge - 4) ** 2 - discharge,
        "hours": 5.0 + (3 * charge + discharge) % 7,
    }
    for charge, discharge in product(range(1, 7), range(1, 4))
)
# A cell of 1.1 Ah: 6 C are 6.6 A.
SPEC = CampaignSpec(
    name="rates",
    space=SearchSpace((IntegerParameter("charge_rate_C", 1, 6),)),
    objectives=(Objective("result", "maximize", threshold=-20.0),),
    strategy="expected_improvement",
    experiment=Experiment("cc_cv", "lfp_a123", fixed={"discharge_rate_C": 1}),
    safety_limits=SafetyLimits(max_current_A=20.0),
    budget=Budget(trials=8),
)
HOUR = timedelta(hours=1)
CUT_HOLDERS = (
    "SELECT pg_terminate_backend(l.pid, 20000) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
    "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
)
BOUND = '[[space.parameters]]\nname = "charge_rate_C"\nupper = {upper}\n'


def cycler(**further) -> ReplayCycler:
    return ReplayCycler(ROWS, "result", duration_h="hours", **{"channels": 3, **further})


@pytest.fixture
def lab(tmp_path):
    with Lab.open(tmp_path / "lab", cyclers=[cycler()]) as opened:
        yield opened


@pytest.fixture
def changes(tmp_path):
    """Writes a file of changes."""

    def write(text: str) -> Path:
        path = tmp_path / "changes.toml"
        path.write_text(text)
        return path

    return write


def started(lab: Lab, spec: CampaignSpec = SPEC) -> Lab:
    """The campaign after its first tick: three tests run."""
    start_campaign(lab, spec)
    advance_campaign(lab, spec.name)
    return lab


def rates(lab: Lab, *states: TrialStatus) -> dict[int, int]:
    trials = lab.store.trials("rates")
    return {t.number: t.candidate.parameters["charge_rate_C"] for t in trials if t.status in states}


def test_a_larger_budget_is_spent(lab, changes):
    """The next ticks go on with the new spec; trials keep the version they were proposed under."""
    started(lab)
    report = amend_campaign(lab, "rates", changes("[budget]\ntrials = 12"), by="ada")
    assert (report.spec_version, [str(c) for c in report.amendment.changes]) == (2, ["budget.trials: 8 -> 12"])
    result = resume_campaign(lab, "rates")
    assert (result.status, result.spec_version, len(result.trials)) == ("completed", 2, 12)
    assert [t.spec_version for t in lab.store.trials("rates")] == [1] * 3 + [2] * 9


def test_waiting_trials_outside_new_bounds_are_withdrawn(lab, changes):
    """They are cancelled at once, with the version and the limit named; others stay; no later test lies outside."""
    started(lab, replace(SPEC, approval=Approval("every"), prefetch=3))
    waiting = rates(lab, TrialStatus.PROPOSED)
    upper = max(waiting.values()) - 1
    report = amend_campaign(lab, "rates", changes(BOUND.format(upper=upper) + '[approval]\nmode = "none"'))
    forbidden = [number for number, rate in waiting.items() if rate > upper]
    assert list(report.withdrawn) == forbidden
    gone = lab.store.trial("rates", forbidden[0])
    assert gone.status is TrialStatus.CANCELLED
    assert gone.stopped_because == (
        f"withdrawn: version 2 of the spec forbids it: candidate: charge_rate_C = {waiting[forbidden[0]]} is not "
        f"a whole number between 1 and {upper}"
    )
    result = resume_campaign(lab, "rates")
    assert result.status == "completed"
    assert all(t.candidate["charge_rate_C"] <= upper for t in result.trials if t.status == "completed")


def test_running_trials_outside_new_limits_are_flagged(lab, changes):
    """They run on and keep their result, and everybody who looks is told; the choice is made inside the new bounds."""
    started(lab)
    running = rates(lab, TrialStatus.RUNNING)
    upper = max(running.values()) - 1
    report = amend_campaign(lab, "rates", changes(BOUND.format(upper=upper)))
    forbidden = [number for number, rate in running.items() if rate > upper]
    assert list(report.flagged) == forbidden
    shown = campaign_result(lab, "rates")
    assert "version 2 of the spec forbids it" in shown.trials[forbidden[0] - 1].flag
    assert "flagged" in write_report(lab, "rates").read_text()
    result = resume_campaign(lab, "rates")
    assert result.trials[forbidden[0] - 1].status == "completed"
    assert result.recommendation["candidate"]["charge_rate_C"] <= upper
    assert result.report is not None


def test_a_test_that_carries_looser_limits_is_flagged(lab, changes):
    """The limits are the cycler's to enforce: a running test has those it was started with."""
    started(lab)
    report = amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 10.0"))
    assert list(report.flagged) == [1, 2, 3]
    said = "protocol.limits: looser than today's: max_current_A 11, today's limit 10"
    assert report.flagged[1] == f"version 2 of the spec forbids it: {said}"
    assert report.lines()[-1].endswith("today's limit 10; it runs on")
    relaxed = amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 30.0"))
    assert relaxed.flagged == {}
    assert all(trial.flag is None for trial in lab.store.trials("rates"))


def test_flagged_trials_are_stopped_if_asked(lab, changes):
    """The request says that an amendment is its cause, and the next tick carries it out."""
    started(lab)
    report = amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 10.0"), stop_forbidden=True, by="ada")
    assert report.stop_requested
    said = [e.data for e in lab.store.events("rates", kinds=("stop_requested",))]
    assert [(data["by"], data["cause"]) for data in said] == [("ada", "amendment")] * 3
    advance_campaign(lab, "rates")
    stopped = [t for t in lab.store.trials("rates") if t.number <= 3]
    assert {t.status for t in stopped} == {TrialStatus.EARLY_STOPPED}
    assert "version 2 of the spec forbids it" in stopped[0].stopped_because


def test_an_added_parameter_goes_on_from_its_past_value(lab, changes):
    """Earlier trials count at their past value; later ones vary it; proposals, report and front see complete candidates."""
    started(lab)
    added = '[[space.parameters]]\nname = "discharge_rate_C"\ntype = "integer"\nlower = 1\nupper = 3\n[budget]\ntrials = 14'
    report = amend_campaign(lab, "rates", changes(added))
    assert report.amendment.past_values == {"discharge_rate_C": 1}
    result = resume_campaign(lab, "rates")
    assert (result.status, len([t for t in result.trials if t.status == "completed"])) == ("completed", 14)
    assert [t.candidate["discharge_rate_C"] for t in result.trials[:3]] == [1, 1, 1]
    assert {t.candidate["discharge_rate_C"] for t in result.trials[3:]} > {1}
    assert result.front


def test_a_dry_run_changes_nothing(lab, changes):
    """It names what would change and the trials concerned, and writes neither rows nor events."""
    started(lab)
    before = (lab.store.trials("rates"), len(lab.store.events("rates")))
    report = amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 10.0"), dry_run=True)
    assert list(report.flagged) == [1, 2, 3]
    assert "would be" in "\n".join(report.lines())
    assert (lab.store.trials("rates"), len(lab.store.events("rates"))) == before
    assert lab.store.campaign("rates").spec_version == 1
    assert json.loads(json.dumps(report.to_json()))["dry_run"] is True


def test_a_file_with_faults_changes_nothing(lab, changes):
    """What the lab cannot run is refused with its line: a metric nobody measures, a step past a limit, a lost channel."""
    started(lab)
    with pytest.raises(SpecError, match=r"line 4: constraints\[0\].metric: nothing produces the metric"):
        amend_campaign(lab, "rates", changes('[budget]\ntrials = 9\n[[constraints]]\nmetric = "unheard"\nupper = 1'))
    with pytest.raises(SpecError, match=r"experiment\.protocol"):
        amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 2.0"))
    assert lab.store.campaign("rates").spec_version == 1


def test_a_lowered_budget_takes_the_latest_waiting_trials_back(lab, changes):
    """What runs is paid for; of what waits the first stay."""
    started(lab, replace(SPEC, prefetch=3))
    advance_campaign(lab, "rates")
    trials = lab.store.trials("rates")
    waiting = [t.number for t in trials if t.status is TrialStatus.APPROVED]
    assert len(waiting) > 1
    report = amend_campaign(lab, "rates", changes(f"[budget]\ntrials = {len(trials) - len(waiting) + 1}"))
    assert list(report.withdrawn) == waiting[1:]
    assert "budget of" in lab.store.trial("rates", waiting[-1]).stopped_because
    result = resume_campaign(lab, "rates")
    assert len([t for t in result.trials if t.status == "completed"]) == len(trials) - len(waiting) + 1


def test_the_example_of_the_documentation_works(tmp_path, changes):
    """With the template that it names."""
    [template] = write_template("mine", "fast-charge", tmp_path / "mine.toml")
    text = Path("docs/amendments.md").read_text().partition("```toml\n")[2].partition("```")[0]
    amendment = read_amendment(changes(text), check_file(template))
    assert amendment.past_values == {"discharge_rate_C": 1.0}
    assert (amendment.spec.budget.trials, amendment.spec.safety_limits.max_temperature_degC) == (60, 48)


def test_the_command_says_what_changed_and_every_fault(tmp_path, changes, monkeypatch, capsys):
    """In words, as JSON on the last line, or as faults with their lines and exit code 2."""
    folder = tmp_path / "lab"
    named = CyclerSpec("one", "replay", {"table": [dict(row) for row in ROWS], "target": "result", "duration_h": "hours"})
    with Lab.open(folder) as lab:
        started(lab, replace(SPEC, cyclers=(named,)))

    def voltloop(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["voltloop", *arguments, "--lab", str(folder)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    file = str(changes("[budget]\ntrials = 9\n[safety_limits]\nmax_current_A = 10.0"))
    code, out, _ = voltloop("amend", "rates", file, "--dry-run", "--by", "ada")
    assert code == 0
    assert out.startswith("rates: version 2 would be in force (by ada)\n  budget.trials: 8 -> 9\n")
    code, out, _ = voltloop("amend", "rates", file, "--json")
    told = json.loads(out.splitlines()[-1])
    assert (code, told["spec_version"], told["changes"][0]) == (0, 2, {"where": "budget.trials", "before": 8, "after": 9})
    _, out, _ = voltloop("status", "rates")
    assert "trial 1 runs, but version 2 of the spec forbids it" in " ".join(out.split())
    assert "spec: version 2" in out
    _, out, _ = voltloop("status", "rates", "--json")
    assert json.loads(out.splitlines()[-1])["spec_version"] == 2
    code, _, err = voltloop("amend", "rates", str(changes("seed = 3\n[budget]\ntrials = 0")))
    assert (code, [line.split(": ")[1] for line in err.splitlines()]) == (2, ["line 1", "line 3"])
    code, _, err = voltloop("amend", "rates", str(tmp_path / "none.toml"))
    assert (code, "there is no file of changes" in err) == (2, True)


class Waiting:
    """Time that passes only while somebody waits."""

    def __init__(self):
        self.now_s, self.waited, self.told = 0.0, 0, []

    def patience(self, limit_s: float = 5.0, then=lambda: None) -> Patience:
        """So long, in steps of a second; after each something may happen."""

        def sleep(seconds):
            self.now_s, self.waited = self.now_s + seconds, self.waited + 1
            then()

        return Patience(limit_s, 1.0, lambda: self.now_s, sleep, self.told.append)


def test_a_tick_at_work_is_waited_for_a_while(lab, changes):
    """After that the amendment says who is at work, and has changed nothing."""
    started(lab)
    time = Waiting()
    with (
        lab.store.campaign_lock("rates", "host:123"),
        pytest.raises(CampaignError, match="being worked on by host:123, and that did not end within 5 s"),
    ):
        amend_campaign(lab, "rates", changes("[budget]\ntrials = 9"), patience=time.patience())
    assert (time.waited, time.told) == (5, ["waiting for host:123, which is making a tick"])
    assert lab.store.campaign("rates").spec_version == 1


def test_an_amendment_follows_when_the_tick_has_ended(lab, changes):
    """It takes the lock as soon as that is free."""
    started(lab)
    lock = lab.store.campaign_lock("rates", "host:123")
    lock.__enter__()
    patience = Waiting().patience(then=lambda: lock.__exit__(None, None, None))
    assert amend_campaign(lab, "rates", changes("[budget]\ntrials = 9"), patience=patience).spec_version == 2


def test_a_tick_killed_on_another_host_is_not_waited_for_on_postgres(cluster, tmp_path, changes):
    """Its connection has gone, so a tick would take over at once, though its lease has minutes to run; so does an amendment."""
    url, folder = cluster.empty_lab(), tmp_path / "shared"
    with (
        Lab.open(folder, cyclers=[cycler()], database_url=url) as dying,
        Lab.open(folder, cyclers=[cycler()], database_url=url) as lab,
    ):
        started(lab)
        with dying.store.campaign_lock("rates", "elsewhere:123"):
            with lab.store.database.write() as session:
                session.exec(update(LockRow).values(process=replace(this_process(), machine="elsewhere").to_text()))
                session.connection().execute(text(CUT_HOLDERS))
            time = Waiting()
            report = amend_campaign(lab, "rates", changes("[budget]\ntrials = 9"), patience=time.patience())
        assert (report.spec_version, time.waited) == (2, 0)


def test_a_holder_from_before_the_clock_was_set_back_keeps_no_more_than_a_lease(lab, changes):
    """Each try cuts its lease to what a lease is at most, as a tick's does."""
    started(lab)
    with lab.store.campaign_lock("rates", "elsewhere:123"):
        ahead = {"process": replace(this_process(), machine="elsewhere").to_text(), "expires_at": system_now() + HOUR}
        with lab.store.database.write() as session:
            session.exec(update(LockRow).values(ahead))
        with pytest.raises(CampaignError, match="being worked on by elsewhere:123"):
            amend_campaign(lab, "rates", changes("[budget]\ntrials = 9"), patience=Waiting().patience())
        with lab.store.database.read() as session:
            assert session.exec(select(LockRow.expires_at)).one() < system_now() + HOUR / 2


def half_started(lab: Lab, *, submitted: bool) -> None:
    """Trial 1 as a killed process leaves it: its intent written, its test perhaps submitted."""
    start_campaign(lab, replace(SPEC, approval=Approval("every")))
    advance_campaign(lab, "rates")
    lab.store.move("rates", 1, TrialStatus.APPROVED, lab_time_h=0.0)
    trial = lab.store.begin_dispatch("rates", 1, cycler="replay", channel="1", lab_time_h=0.0)
    if submitted:
        from orchestrator.representation.requests import run_request

        lab.cyclers[0].submit(run_request(SPEC, trial.candidate, key=trial.key, channel="1"))


def test_a_test_that_was_just_being_started_is_settled_first(lab, changes):
    """Nothing runs of it: it waits again, its key never starts anything, and the new limits are what counts for it."""
    half_started(lab, submitted=False)
    rate = lab.store.trial("rates", 1).candidate.parameters["charge_rate_C"]
    text = BOUND.format(upper=rate - 1) if rate > 1 else '[[space.parameters]]\nname = "charge_rate_C"\nlower = 2\n'
    report = amend_campaign(lab, "rates", changes(text))
    assert 1 in report.withdrawn
    assert lab.store.trial("rates", 1).status is TrialStatus.CANCELLED
    assert not lab.store.events("rates", kinds=("trial_running",))


def test_a_test_that_runs_already_is_adopted_and_flagged(lab, changes):
    """Its process was killed before it could say so."""
    half_started(lab, submitted=True)
    report = amend_campaign(lab, "rates", changes("[safety_limits]\nmax_current_A = 10.0"))
    assert 1 in report.flagged
    trial = lab.store.trial("rates", 1)
    assert (trial.status, trial.flag) == (TrialStatus.RUNNING, report.flagged[1])


def test_without_an_answer_nothing_is_amended(tmp_path, changes):
    """Whether a half-started test runs is not known: the old spec stays in force."""
    silent = cycler(faults=[InjectedFault(FaultKind.CYCLER_UNREACHABLE)])
    with Lab.open(tmp_path / "lab", cyclers=[silent]) as lab:
        half_started(lab, submitted=False)
        with pytest.raises(CampaignError, match="'replay' does not say whether it runs"):
            amend_campaign(lab, "rates", changes("[budget]\ntrials = 9"))
        assert lab.store.campaign("rates").spec_version == 1
        assert lab.store.trial("rates", 1).status is TrialStatus.DISPATCHING


def test_a_completed_campaign_goes_on_with_a_larger_budget(lab, changes):
    """Nothing else opens it again."""
    run_campaign(lab, SPEC)
    with pytest.raises(CampaignError, match=r"'rates' is completed\. Only a larger"):
        amend_campaign(lab, "rates", changes("prefetch = 2"))
    report = amend_campaign(lab, "rates", changes("[budget]\ntrials = 10"))
    assert report.reopened
    result = resume_campaign(lab, "rates")
    assert (result.status, len(result.trials)) == ("completed", 10)


def test_a_campaign_that_waits_for_a_person_is_looked_at_afresh(lab, changes):
    """Whoever amends is that person."""
    started(lab, replace(SPEC, approval=Approval("every")))
    while lab.store.campaign("rates").status == "running":
        advance_campaign(lab, "rates")
    amend_campaign(lab, "rates", changes('[approval]\nmode = "none"'))
    assert resume_campaign(lab, "rates").status == "completed"


def test_a_later_tick_withdraws_what_slipped_through(lab, changes):
    """A candidate of an earlier version that today's spec forbids is never started, whoever stored it."""
    start_campaign(lab, replace(SPEC, approval=Approval("every"), prefetch=2))
    advance_campaign(lab, "rates")
    waiting = rates(lab, TrialStatus.PROPOSED)
    from orchestrator.domain.amendment import read_amendment

    amendment = read_amendment(changes(BOUND.format(upper=2)), lab.store.campaign("rates").spec)
    lab.store.amend("rates", amendment, follows=1, by="ada", lab_time_h=0.0)
    lab.store.set_campaign("rates", status="running", lab_time_h=0.0)
    advance_campaign(lab, "rates")
    assert all(lab.store.trial("rates", n).status is TrialStatus.CANCELLED for n, rate in waiting.items() if rate > 2)


def test_cyclers_named_in_the_spec_may_grow(tmp_path, changes):
    """More channels of a cycler, and another beside it, take tests from the next tick on; fewer channels are refused."""
    options = {"table": [dict(row) for row in ROWS], "target": "result", "duration_h": "hours"}
    spec = replace(SPEC, cyclers=(CyclerSpec("one", "replay", {**options, "channels": 2}),), budget=Budget(trials=12))
    with Lab.open(tmp_path / "lab") as lab:
        started(lab, spec)
        with pytest.raises(SpecError, match=r"line 1: cyclers\[0\]: 'one' would lose 2"):
            amend_campaign(lab, "rates", changes('[[cyclers]]\nname = "one"\nchannels = 1'))
        amend_campaign(lab, "rates", changes('[[cyclers]]\nname = "one"\nchannels = 5'))
        advance_campaign(lab, "rates")
        assert {t.channel for t in lab.store.trials("rates")} > {"1", "2"}
        assert resume_campaign(lab, "rates").status == "completed"
