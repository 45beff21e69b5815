"""A whole campaign from Python: a lab on a table of results, run to its end."""

import sys
import tempfile

from adapters.replay import ReplayCycler
from flows import Lab, run_campaign
from orchestrator import Budget, CampaignSpec, CandidateTable, Objective

ROWS = [{"rate_C": 1.0 + 0.25 * i, "cycle_life": 2000.0 / (1 + 0.1 * (1.0 + 0.25 * i) ** 2)} for i in range(20)]

spec = CampaignSpec(
    name="from-python",
    space=CandidateTable(rows=ROWS, features=["rate_C"]),
    objectives=[Objective("cycle_life", "maximize")],
    budget=Budget(trials=8),
    seed=1,
)
cycler = ReplayCycler(ROWS, target="cycle_life", noise_sd=50.0, duration_h=100.0, channels=2)
with tempfile.TemporaryDirectory() as folder, Lab.open(folder, cyclers=[cycler]) as lab:
    result = run_campaign(lab, spec)
    print(result.status, result.recommendation["candidate"], file=sys.stdout)
