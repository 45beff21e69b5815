"""The lab's only memory: specs, trials, channels, the log, outcomes; and closed recordings beside it."""

from orchestrator.store.plain import (
    CampaignRecord,
    ChannelRecord,
    Event,
    NewTrial,
    RecordingFile,
    StaleFenceError,
)
from orchestrator.store.recordings import RecordingArchive
from orchestrator.store.trial_store import TrialStore

__all__ = [
    "CampaignRecord", "ChannelRecord", "Event", "NewTrial", "RecordingArchive", "RecordingFile", "StaleFenceError",
    "TrialStore",
]  # fmt: skip
