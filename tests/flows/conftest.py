"""A small lab on a replayed table: twelve rows, known truth, two or three channels."""

from pathlib import Path

import pytest

from adapters.replay import ReplayCycler
from flows import Lab
from orchestrator.domain import Budget, CampaignSpec, CandidateTable, Experiment, Objective
from orchestrator.domain.campaign_spec import CyclerSpec

ROWS = tuple({"x": float(i), "result": 10.0 - (i - 7) ** 2, "hours": 5.0 + (i * 7) % 5} for i in range(12))


def small_spec(**changes) -> CampaignSpec:
    fields = {
        "name": "small",
        "space": CandidateTable(ROWS, ("x",)),
        "objectives": (Objective("result", "maximize", threshold=-50.0),),
        "budget": Budget(trials=8),
        "experiment": Experiment("cc_cv", "lfp_a123"),
        "cyclers": (
            CyclerSpec("replay", "replay", {"table": list(ROWS), "target": "result", "duration_h": "hours", "channels": 2}),
        ),
    }
    return CampaignSpec(**{**fields, **changes})


def replay(channels=2, **changes) -> ReplayCycler:
    return ReplayCycler(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=channels, **changes)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "lab"


@pytest.fixture
def lab(folder):
    with Lab.open(folder, cyclers=[replay()]) as opened:
        yield opened
