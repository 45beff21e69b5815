"""The lab's only memory: specs, trials, channels, the log, outcomes; and closed recordings beside it."""

from orchestrator.store.live_folder import LiveRecordings
from orchestrator.store.live_recording import LiveRecording, LiveRecordingError
from orchestrator.store.plain import (
    RESUMED,
    CampaignRecord,
    ChannelRecord,
    Event,
    LockLostError,
    NewTrial,
    RecordingFile,
    SpecVersion,
    StaleFenceError,
    StopCause,
)
from orchestrator.store.recordings import RecordingArchive
from orchestrator.store.trial_store import TrialStore

__all__ = [
    "RESUMED", "CampaignRecord", "ChannelRecord", "Event", "LiveRecording", "LiveRecordingError", "LiveRecordings",
    "LockLostError", "NewTrial", "RecordingArchive", "RecordingFile", "SpecVersion", "StaleFenceError", "StopCause", "TrialStore",
]  # fmt: skip
