"""What one trial's handling needs: the lab, the campaign, the cyclers, and references as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache

from flows.lab import Lab
from orchestrator.domain.cycler import Cycler, RunRef
from orchestrator.domain.errors import CyclerUnreachableError, SpecError
from orchestrator.domain.trial import Trial
from orchestrator.store import CampaignRecord

UNREACHABLE = "cycler_unreachable"


@dataclass(frozen=True)
class Bench:
    """What one trial's handling needs: the lab, its campaign as read at the start of the tick, and the cyclers."""

    lab: Lab
    campaign: CampaignRecord
    cyclers: dict[str, Cycler]

    @property
    def now_h(self) -> float:
        """Lab time."""
        return self.lab.clock.now_h()

    def cycler_of(self, trial: Trial) -> Cycler:
        """The cycler that holds a trial.

        Raises:
            SpecError: if the spec no longer names it.
        """
        if trial.cycler not in self.cyclers:
            raise SpecError(f"trial {trial.number} runs on the cycler '{trial.cycler}', which this lab no longer has.")
        return self.cyclers[trial.cycler]


def log_silence(bench: Bench, trial: Trial, error: CyclerUnreachableError) -> None:
    """Log that a trial's cycler did not answer."""
    said = {"error": str(error), "cycler": trial.cycler}
    bench.lab.store.log(UNREACHABLE, campaign=bench.campaign.name, trial=trial.number, data=said, lab_time_h=bench.now_h)


def to_text(ref: RunRef) -> str:
    """A reference as the store keeps it."""
    return json.dumps(asdict(ref), sort_keys=True)


def run_ref_of(trial: Trial) -> RunRef:
    """The cycler's own reference of a trial's run."""
    return _run_ref(trial.run_ref or "{}")


@lru_cache(maxsize=4096)
def _run_ref(text: str) -> RunRef:
    """A reference is read at every tick while its test runs."""
    return RunRef(**json.loads(text))
