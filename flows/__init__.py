"""Time: the lab, the tick, schedules, the Prefect forms and the command line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {
    "Lab": "flows.lab",
    "run_campaign": "flows.control",
    "resume_campaign": "flows.control",
    "start_campaign": "flows.control",
    "advance_campaign": "flows.campaign",
    "TickReport": "flows.campaign",
    "CampaignResult": "flows.result",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'flows' has no attribute '{name}'")
