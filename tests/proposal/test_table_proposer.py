"""Finite lists: every row weighed, promising rows tested again when results are noisy."""

import numpy as np
import pytest

from orchestrator.domain import Budget, CampaignSpec, CandidateTable, Estimate, Objective, OutcomeConstraint, Trial, TrialStatus
from orchestrator.domain.candidate import read_rows
from orchestrator.domain.errors import NeedsPersonError, SpecError
from orchestrator.proposal.acquisition import NoisyImprovement
from orchestrator.proposal.history import read_history
from orchestrator.proposal.table_encoding import TableEncoding
from orchestrator.proposal.table_proposer import TableProposer, lazily_greedy, table_beliefs

ROWS = [{"id": f"r{i}{j}", "x": i / 9, "y": float(j)} for i in range(10) for j in range(10)]
TABLE = CandidateTable(ROWS, ["x", "y"])


def truth(candidate) -> float:
    return 100 - 80 * (candidate.parameters["x"] - 0.6) ** 2 - (candidate.parameters["y"] - 4) ** 2


def spec(**changes) -> CampaignSpec:
    fields = {"name": "list", "space": TABLE, "objectives": (Objective("f", "maximize"),), "budget": Budget(40), "seed": 3}
    return CampaignSpec(**{**fields, **changes})


def closed_loop(campaign, noise: float, trials: int, batch: int = 4) -> list[Trial]:
    """A synchronous campaign on the truth."""
    proposer, random, known = TableProposer(campaign.space), np.random.default_rng(campaign.seed), []
    while len(known) < trials:
        for proposal in proposer.propose(batch, read_history(campaign, known)):
            told = {"f": Estimate(float(truth(proposal.candidate) + noise * random.standard_normal()), noise)}
            known.append(Trial(len(known) + 1, proposal.candidate, TrialStatus.COMPLETED, outcome=told, origin=proposal.origin))
    return known


def test_without_noise_no_row_is_tested_twice_and_the_best_is_found():
    """Some thirty tests of a hundred rows, all different, the best among them."""
    known = closed_loop(spec(), 0.0, 30)
    assert len({t.candidate for t in known}) == len(known)
    assert max(truth(t.candidate) for t in known) > 99.5


def test_with_noise_promising_rows_are_tested_again():
    """Noise as large as the differences: the best rows are repeated, the poor ones are not."""
    known = closed_loop(spec(), 12.0, 40)
    tests = {c: sum(t.candidate == c for t in known) for c in {t.candidate for t in known}}
    often = [c for c, count in tests.items() if count >= 2]
    assert often
    assert np.mean([truth(c) for c in often]) > np.mean([truth(c) for c in tests]) + 3
    assert "top-two Thompson" in {t.origin for t in known}


def test_a_dossier_says_what_was_known():
    """Each proposal has its belief, its reason, and the trials it rests on."""
    campaign = spec()
    known = closed_loop(campaign, 5.0, 8)
    proposal = TableProposer(TABLE).propose(1, read_history(campaign, known))[0]
    assert proposal.decision["basis"]["observed"] == {"f": f"1-{len(known)}"}
    assert proposal.decision["expected"]["f"]["mean"] == pytest.approx(proposal.expected["f"].mean)
    assert proposal.why


def test_a_noise_free_list_ends():
    """When every row has been tested nothing is left to propose, and a person is told."""
    table = CandidateTable(ROWS[:6], ["x", "y"])
    campaign = spec(space=table)
    known = [Trial(i + 1, table.candidate(i), TrialStatus.COMPLETED, outcome={"f": Estimate(float(i))}) for i in range(6)]
    with pytest.raises(NeedsPersonError, match="no row of the table is left"):
        TableProposer(table).propose(1, read_history(campaign, known))


def test_without_noise_rows_with_equal_features_are_one():
    """A row with the features of a tested one is not tested, nor two such rows in one batch; with noise both may be."""
    rows = [{"id": f"{name}{i}", "x": float(i)} for name in "ab" for i in range(8)]
    table = CandidateTable(rows, ["x"])
    campaign = spec(space=table)
    known = [
        Trial(n, table.candidate(i), TrialStatus.COMPLETED, outcome={"f": Estimate(-float((i - 4) ** 2))})
        for n, i in enumerate(range(6), 1)
    ]
    found = [p.candidate.parameters["x"] for p in TableProposer(table).propose(4, read_history(campaign, known))]
    assert sorted(found) == [6.0, 7.0]


def told(i: int, outcome, status=TrialStatus.COMPLETED) -> Trial:
    return Trial(i + 1, TABLE.candidate(7 * i), status, outcome=outcome)


@pytest.mark.parametrize(
    "known",
    [
        [told(i, {}, TrialStatus.FAILED) for i in range(6)],
        [told(0, {"f": Estimate(3.0, 1.0)})],
        [told(i, {"f": Estimate(3.0, 1.0)}) for i in range(9)],
        [told(i, {"f": Estimate(0.0)}) for i in range(9)],
        [told(i, {"f": Estimate(1e12 * i, 1e13)}) for i in range(9)],
        [told(i, {"f": Estimate(i, 9.0)} if i % 2 else {"h": Estimate(0.5, 0.1)}) for i in range(10)],
        [told(0, {"f": Estimate(3.0, 1.0), "h": Estimate(0.5, 0.1)}), *(told(i, {}, TrialStatus.FAILED) for i in range(1, 9))],
    ],
    ids=["all failed", "one result", "identical", "zeros", "huge", "a metric missing", "one result among failures"],
)
@pytest.mark.parametrize("constraints", [(), (OutcomeConstraint("h", upper=0.7),)], ids=["free", "constrained"])
def test_odd_histories(known, constraints):
    """Whatever came back, rows of the table are proposed, none of them a failed one, and the same ones when asked again."""
    history = read_history(spec(constraints=constraints), known)
    first, again = (TableProposer(TABLE).propose(4, history) for _ in range(2))
    assert len(first) == 4
    assert [p.candidate for p in first] == [p.candidate for p in again]
    assert not {p.candidate for p in first} & {t.candidate for t in known if t.status is TrialStatus.FAILED}


def test_weighing_the_most_promising_again_chooses_as_weighing_all():
    """A batch from a long list is that of the plain greedy choice, however few rows are weighed again."""
    campaign = spec(objectives=(Objective("f", "maximize"), Objective("g", "minimize")))
    known = [
        told(i, {"f": Estimate(truth(TABLE.candidate(7 * i)), 0.5), "g": Estimate(TABLE.candidate(7 * i).parameters["y"], 0.05)})
        for i in range(14)
    ]
    history = read_history(campaign, known, (), {"f": 0.0, "g": 10.0})
    encoding = TableEncoding(TABLE)
    baseline = encoding.encode([t.candidate for t in known])
    improvement = NoisyImprovement(history, table_beliefs(history, encoding), baseline, 1)
    plain = lazily_greedy(5, encoding.X, improvement)
    assert lazily_greedy(5, encoding.X, improvement, promising=3) == plain


def test_several_objectives_and_a_constraint():
    """Rows that break the constraint are not proposed; the front is pushed on both objectives."""
    campaign = spec(
        objectives=(Objective("f", "maximize", threshold=0.0), Objective("g", "minimize", threshold=10.0)),
        constraints=(OutcomeConstraint("h", upper=0.7),),
    )
    known = []
    for i in range(0, 100, 7):
        row = TABLE.candidate(i)
        x, y = row.parameters["x"], row.parameters["y"]
        told = {"f": Estimate(truth(row), 0.5), "g": Estimate(y, 0.05), "h": Estimate(x, 0.01)}
        known.append(Trial(len(known) + 1, row, TrialStatus.COMPLETED, outcome=told))
    found = TableProposer(TABLE).propose(4, read_history(campaign, known, (), {"f": 0.0, "g": 10.0}))
    assert len({p.candidate for p in found}) == 4
    assert max(p.candidate.parameters["x"] for p in found) < 0.8


def test_formulas_are_features():
    """A table of formulas alone can be learned from; equal features in every row are refused."""
    rows = [{"formula": f, "volts": v} for f, v in (("LiCoO2", 3.9), ("LiFePO4", 3.45), ("LiMn2O4", 4.0), ("LiNiO2", 3.8))]
    X = TableEncoding(CandidateTable(rows, ["formula"])).X
    assert X.shape[0] == 4
    assert len(np.unique(X.round(9), axis=0)) == 4
    assert np.abs(X.mean(axis=0)).max() < 1e-12
    with pytest.raises(SpecError, match="same in every row"):
        TableEncoding(CandidateTable([{"x": 1.0}, {"x": 1.0}], ["x"])).X  # noqa: B018


def test_hundred_thousand_rows_are_weighed():
    """Exhaustive over a long list: the row at the optimum of a smooth truth is proposed among the best."""
    random = np.random.default_rng(0)
    X = random.random((100_000, 3))
    table = CandidateTable([{"a": a, "b": b, "c": c} for a, b, c in X.tolist()], ["a", "b", "c"])
    campaign, rows = spec(space=table), random.choice(100_000, 30, replace=False)
    known = [
        Trial(n, table.candidate(int(i)), TrialStatus.COMPLETED, outcome={"f": Estimate(-float(((X[i] - 0.5) ** 2).sum()))})
        for n, i in enumerate(rows, 1)
    ]
    found = TableProposer(table).propose(1, read_history(campaign, known))[0].candidate.parameters
    assert np.linalg.norm(np.array([found[n] for n in "abc"]) - 0.5) < 0.2


def test_attia_protocols_are_learned(public_data):
    """The published 224 protocols, noise sd 164: what is recommended after 40 cells in batches of 8 lives long (best 1208)."""
    table = CandidateTable(read_rows(public_data / "attia_policies_sim.csv"), ["C1", "C2", "C3", "C4"])
    lives = np.array([float(row["sim_life"]) for row in table.rows])
    chosen = []
    for seed in range(3):
        campaign, random, known = spec(space=table, seed=seed), np.random.default_rng(seed), []
        proposer = TableProposer(table)
        while len(known) < 40:
            for proposal in proposer.propose(8, read_history(campaign, known)):
                life = lives[table.row_of(proposal.candidate)] + 164 * random.standard_normal()
                known.append(
                    Trial(len(known) + 1, proposal.candidate, TrialStatus.COMPLETED, outcome={"f": Estimate(life, 164.0)})
                )
        tested = sorted({table.row_of(t.candidate) for t in known})
        believed = proposer.predict([table.candidate(i) for i in tested], read_history(campaign, known))
        chosen.append(lives[tested[int(np.argmax([b["f"].mean for b in believed]))]])
    assert np.mean(chosen) > 1100
