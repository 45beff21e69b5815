"""Attia's 224 protocols: the mean true life of what is recommended after 64 noisy tests, beside random choice.

    python benchmarks/attia_replay.py [--seeds 30] [--random-draws 8]

Every campaign is `examples/attia_replay.toml` run by the real loop (store, tick, replay cycler); only the seed changes.
Random choice tests 64 rows drawn without repetition, on the same loop and with the same recommender. What one random
draw finds says little (its spread is half of the comparison's error), so each seed's control is the mean of several draws.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import keep, mean_and_error, show
from flows import Lab
from flows.control import resume_campaign, run_campaign, start_campaign
from flows.result import CampaignResult
from orchestrator.domain.campaign_spec import CampaignSpec, CyclerSpec
from orchestrator.domain.candidate import CandidateTable, read_rows
from orchestrator.domain.spec_file import read_spec
from orchestrator.store import NewTrial

SPEC = Path(__file__).resolve().parents[1] / "examples" / "attia_replay.toml"


def seeded(spec: CampaignSpec, seed: int) -> CampaignSpec:
    """The same campaign with another seed for proposals and noise."""
    cycler = spec.cyclers[0]
    return replace(spec, seed=seed, cyclers=(CyclerSpec(cycler.name, cycler.kind, {**cycler.options, "seed": seed}),))


def loop(lab: Lab, spec: CampaignSpec) -> CampaignResult:
    """The closed loop."""
    return run_campaign(lab, spec)


def random_choice(lab: Lab, spec: CampaignSpec, draw: int) -> CampaignResult:
    """As many rows at random, all proposed at once."""
    table = spec.space
    assert isinstance(table, CandidateTable)
    start_campaign(lab, spec)
    rows = random.Random(f"{spec.seed}/{draw}").sample(range(len(table.rows)), spec.budget.trials)
    lab.store.add_trials(spec.name, [NewTrial(table.candidate(row), "random") for row in rows], lab_time_h=lab.now_h())
    return resume_campaign(lab, spec.name)


def true_life(spec: CampaignSpec, result: CampaignResult) -> float:
    """The noiseless life of the recommended protocol."""
    truth = {
        tuple(row[f] for f in spec.space.names): row["sim_life"] for row in read_rows(Path(spec.cyclers[0].options["table"]))
    }
    chosen = result.recommendation["candidate"]
    return float(truth[tuple(chosen[f] for f in spec.space.names)])


def one_seed(spec: CampaignSpec, seed: int, draws: int) -> dict[str, float]:
    """One closed loop beside the control of the same seed: true lives of what they recommend, and seconds."""
    campaign = seeded(spec, seed)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Lab.open(folder) as lab:
        found = true_life(campaign, loop(lab, campaign))
    looped = time.monotonic()
    controls = []
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder, Lab.open(folder) as lab:
            other = seeded(spec, seed + 1000 * draw)
            controls.append(true_life(other, random_choice(lab, other, draw)))
    return {
        "seed": seed,
        "voltloop": found,
        "random": statistics.fmean(controls),
        "voltloop_s": looped - start,
        "random_s": (time.monotonic() - looped) / draws,
    }


def main() -> None:
    """Run both on the same seeds and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--random-draws", type=int, default=8)
    given = parser.parse_args()
    spec = read_spec(SPEC)
    rows = []
    for seed in range(given.seeds):
        rows.append(row := one_seed(spec, seed, given.random_draws))
        print(
            f"seed {seed}: voltloop {row['voltloop']:.0f} ({row['voltloop_s']:.0f} s), "
            f"random {row['random']:.0f} ({row['random_s']:.1f} s each)",
            flush=True,
        )
    summary = []
    for name in ("voltloop", "random"):
        mean, error = mean_and_error([row[name] for row in rows])
        summary.append({"strategy": name, "mean true life": mean, "standard error": error, "seeds": given.seeds})
    difference, error = mean_and_error([row["voltloop"] - row["random"] for row in rows])
    summary.append(
        {"strategy": "difference (paired)", "mean true life": difference, "standard error": error, "seeds": given.seeds}
    )
    show(summary, "Recommended protocol after 64 cells on 8 channels, noise sd 164 cycles (best of all: 1208)")
    print(f"difference in standard errors: {difference / error:.1f}; kept in {keep(rows, 'attia_replay')}")


if __name__ == "__main__":
    main()
