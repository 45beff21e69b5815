"""The demo against quasi-random choice: violations of the safe limit and hypervolume, both on noise-free truth and as measured.

    python benchmarks/demo_vs_sobol.py [--seeds 5] [--trials 24]

Each arm runs on the same simulated (synthetic) lab through the real loop; cells differ by trial key. The hypervolume is
that of the result's JSON: measured, feasible trials.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import keep, show
from flows import Lab
from flows.control import resume_campaign, run_campaign, start_campaign
from flows.examples import demo_spec
from flows.result import CampaignResult
from orchestrator.domain.campaign_spec import CampaignSpec
from orchestrator.domain.search_space import SearchSpace
from orchestrator.proposal.sobol import sobol_candidates
from orchestrator.store import NewTrial


def sobol(lab: Lab, spec: CampaignSpec) -> CampaignResult:
    """The same number of feasible Sobol points, all proposed at once."""
    assert isinstance(spec.space, SearchSpace)
    start_campaign(lab, spec)
    points = sobol_candidates(spec.space, spec.budget.trials, spec.seed)
    lab.store.add_trials(spec.name, [NewTrial(point, "sobol") for point in points], lab_time_h=lab.now_h())
    return resume_campaign(lab, spec.name)


def main() -> None:
    """Run both arms on every seed and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=24)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        row: dict[str, object] = {"seed": seed}
        for name, strategy in (("voltloop", run_campaign), ("sobol", sobol)):
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder, Lab.open(folder) as lab:
                result = strategy(lab, demo_spec(trials=options.trials, seed=seed))
            row[f"{name} violations"] = result.limits_violated
            row[f"{name} hypervolume"] = result.hypervolume[-1]
            row[f"{name} wall s"] = time.monotonic() - start
        rows.append(row)
        print(row, flush=True)
    show(rows, f"{options.trials} trials on 8 channels of the simulated lab (synthetic cells)")
    wins = sum(row["voltloop hypervolume"] > row["sobol hypervolume"] for row in rows)
    share = sum(row["sobol violations"] for row in rows) / (options.seeds * options.trials)
    print(f"\nhypervolume above Sobol's on {wins} of {len(rows)} seeds")
    print(
        f"violations: voltloop {sum(row['voltloop violations'] for row in rows)} in all; Sobol {100 * share:.0f} % of its trials"
    )
    print(f"kept in {keep(rows, 'demo_vs_sobol')}")


if __name__ == "__main__":
    main()
