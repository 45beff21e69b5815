"""One trial's way to a cycler and back: dispatch exactly once, adopt what runs, collect what ended.

The order of dispatch is the text of DESIGN.md: intent, safety again, ask for the key, submit, acknowledge. Between any
two of these steps the process may die; what it leaves is finished by `reconcile` at the start of the next tick.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from flows.lab import Lab
from orchestrator.domain.cycler import Cycler, KnowsTruth, RunRef, RunState, RunStatus, join_columns
from orchestrator.domain.errors import ChannelBusyError, CyclerUnreachableError, RequestRefusedError, SpecError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.recording import Recording
from orchestrator.domain.trial import WITHDRAWN, Trial, TrialStatus
from orchestrator.features import cycle_summary, measure
from orchestrator.representation.requests import run_request
from orchestrator.safety.limits import dispatch_faults
from orchestrator.store import CampaignRecord, RecordingFile

# A cycler that gives the same rows under the same cursor so many times in a row has no others.
REPEATED_ANSWERS = 5
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


def dispatch(bench: Bench, trial: Trial, cycler: Cycler, channel: str) -> Trial:
    """Take a channel for an approved trial and start it there; returns the trial as it then stands.

    The intent is on disk before the cycler hears of it. If the channel was taken meanwhile, nothing happens.
    """
    name = cycler.capabilities.name
    intent = bench.lab.store.begin_dispatch(
        bench.campaign.name, trial.number, cycler=name, channel=channel, lab_time_h=bench.now_h
    )
    return trial if intent is None else continue_dispatch(bench, intent)


def reconcile_dispatch(bench: Bench, trial: Trial, doubt: str | None = None) -> Trial:
    """Go on with an intent that a killed process left; a cycler that cannot be searched leaves it to a person."""
    if bench.cycler_of(trial).capabilities.searchable:
        return continue_dispatch(bench, trial, doubt)
    reason = "the program ended while it was being started; it may run, a person must look"
    return bench.lab.store.park_unknown(bench.campaign.name, trial.number, reason=reason, lab_time_h=bench.now_h)


def continue_dispatch(bench: Bench, trial: Trial, doubt: str | None = None) -> Trial:
    """From a stored intent to an acknowledged run: check safety, ask for the key, submit if it is unknown, acknowledge.

    Args:
        bench: what it is done with.
        trial: with its intent.
        doubt: why it must not be started any more; if it runs already it is adopted all the same.
    """
    store, name = bench.lab.store, bench.campaign.name
    cycler = bench.cycler_of(trial)
    assert trial.key is not None  # noqa: S101 - an intent always has its key, channel and fence
    assert trial.channel is not None  # noqa: S101
    assert trial.fence is not None  # noqa: S101
    try:
        request = run_request(bench.campaign.spec, trial.candidate, key=trial.key, channel=trial.channel)
        faults = dispatch_faults(bench.campaign.spec, request, cycler.capabilities)
    except SpecError as error:
        faults = list(error.faults)
    try:
        ref = cycler.find(trial.key)
        if ref is None and trial.stop_requested:
            return _withdraw(bench, trial, TrialStatus.CANCELLED, trial.stop_requested)
        if ref is None and faults:
            return _withdraw(bench, trial, TrialStatus.CANCELLED, "unsafe: " + " ".join(map(str, faults)))
        if ref is None and doubt:
            return _withdraw(bench, trial, TrialStatus.CANCELLED, doubt, WITHDRAWN)
        ref = ref or cycler.submit(request)
    except ChannelBusyError as error:
        back = store.withdraw_dispatch(name, trial.number, fence=trial.fence, reason=str(error), lab_time_h=bench.now_h)
        store.quarantine(cycler.capabilities.name, trial.channel, reason=str(error), lab_time_h=bench.now_h)
        return back
    except RequestRefusedError as error:
        return _withdraw(bench, trial, TrialStatus.CANCELLED, f"refused by {cycler.capabilities.name}: {error}")
    except CyclerUnreachableError as error:
        return _unanswered(bench, trial, cycler, error)
    return store.acknowledge(name, trial.number, run_ref=_to_text(ref), started_h=_start_h(bench, cycler, ref), fence=trial.fence)


def _start_h(bench: Bench, cycler: Cycler, ref: RunRef) -> float:
    """When the run started, by the cycler's word; a cycler that does not answer now loses no reference."""
    try:
        started_h = cycler.status(ref).started_h
    except CyclerUnreachableError:
        started_h = None
    return bench.now_h if started_h is None else started_h


def _withdraw(bench: Bench, trial: Trial, end: TrialStatus, reason: str, cause: str | None = None) -> Trial:
    """Nothing was started: free the channel, and end the trial."""
    store, name = bench.lab.store, bench.campaign.name
    store.withdraw_dispatch(name, trial.number, fence=trial.fence or 0, reason=reason, lab_time_h=bench.now_h)
    return store.move(name, trial.number, end, lab_time_h=bench.now_h, reason=reason, cause=cause)


def _unanswered(bench: Bench, trial: Trial, cycler: Cycler, error: CyclerUnreachableError) -> Trial:
    """No answer is not a no: the intent stays and is asked for again, unless the cycler cannot be searched."""
    store, name = bench.lab.store, bench.campaign.name
    if cycler.capabilities.searchable:
        store.log(UNREACHABLE, campaign=name, trial=trial.number, data={"error": str(error)}, lab_time_h=bench.now_h)
        return trial
    return store.park_unknown(name, trial.number, reason=f"{error} It may run; a person must look.", lab_time_h=bench.now_h)


def collect(bench: Bench, trial: Trial) -> Trial:
    """Look at a running trial: carry out a requested stop, and take in the result if it has ended."""
    store, name = bench.lab.store, bench.campaign.name
    cycler, ref = bench.cycler_of(trial), run_ref_of(trial)
    try:
        status = cycler.status(ref)
        if status.state is RunState.RUNNING and trial.stop_requested:
            cycler.stop(ref, trial.stop_requested)
            status = cycler.status(ref)
        if status.state is RunState.UNKNOWN:
            reason = f"{cycler.capabilities.name} does not know the run; a person must look"
            return store.park_unknown(name, trial.number, reason=reason, lab_time_h=bench.now_h)
        if not status.state.ended:
            return trial
        if status.state is RunState.FAILED and status.cause == "timeout":
            return store.park_unknown(name, trial.number, reason=_out_of_time(bench, trial, status), lab_time_h=bench.now_h)
        return _take_in(bench, trial, cycler, ref, status)
    except CyclerUnreachableError as error:
        store.log(UNREACHABLE, campaign=name, trial=trial.number, data={"error": str(error)}, lab_time_h=bench.now_h)
        return trial


def _out_of_time(bench: Bench, trial: Trial, status: RunStatus) -> str:
    """No answer in time says nothing of the cell: unknown, not failed."""
    settle = f"voltloop settle {bench.campaign.name} {trial.number} not-started"
    return f"no result in time: {status.reason}. What the cell would have done is not known; `{settle}` has it tested again"


def _take_in(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef, status: RunStatus) -> Trial:
    """Close the recording, compute the outcome, and store outcome, state and the channel's release in one transaction."""
    spec = bench.campaign.spec
    recording = _recording(bench, trial, cycler, ref, status)
    summaries, oddity = _summaries(recording)
    estimates, missing = measure(recording, spec.objectives, spec.metrics)
    fate, because = _fate(trial, status, estimates, missing, tuple(o.metric for o in spec.objectives))
    return bench.lab.store.finish(
        bench.campaign.name,
        trial.number,
        status=fate,
        outcome=estimates,
        stopped_because="; ".join(filter(None, (because, oddity))) or None,
        ended_h=bench.now_h if status.ended_h is None else status.ended_h,
        fence=trial.fence or 0,
        recording=_archived(bench, trial, recording),
        summaries=summaries,
        limits_violated=_violates(bench, cycler, ref),
        cause=status.cause,
    )


def _summaries(recording: Recording) -> tuple[list[dict[str, object]], str | None]:
    """A row per cycle; a recording that cannot be summed up is kept all the same, and why is said."""
    try:
        return (cycle_summary(recording).to_dicts() if len(recording) else []), None
    except SpecError as error:
        return [], str(error)


def _recording(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef, status: RunStatus) -> Recording:
    experiment = bench.campaign.spec.experiment
    return Recording(
        columns=join_columns(_all_rows(cycler, ref)),
        nominal_capacity_Ah=experiment.cell.nominal_capacity_Ah,
        end_of_life=experiment.end_of_life,
        results=status.results,
        complete=status.state is RunState.FINISHED,
        synthetic=cycler.capabilities.synthetic,
        key=trial.key,
    )


def _all_rows(cycler: Cycler, ref: RunRef) -> list[dict[str, NDArray[Any]]]:
    """Every row of a run, once: an answer that leaves the cursor where it was has been given before."""
    parts: list[dict[str, NDArray[Any]]] = []
    cursor, repeated = None, 0
    while repeated < REPEATED_ANSWERS:
        columns, following = cycler.read(ref, cursor)
        moved = following != cursor
        if not columns and (not moved or following is None):
            break
        if columns and (moved or not parts):
            parts.append(columns)
        cursor, repeated = following, 0 if moved else repeated + 1
    return parts


def _archived(bench: Bench, trial: Trial, recording: Recording) -> RecordingFile | None:
    if not len(recording):
        return None
    metadata = {
        "campaign": bench.campaign.name,
        "trial": trial.number,
        "spec_sha256": bench.campaign.spec.sha256,
        "cell": bench.campaign.spec.experiment.cell.name,
        "nominal_capacity_Ah": recording.nominal_capacity_Ah,
        "end_of_life": recording.end_of_life,
        "synthetic": recording.synthetic,
    }
    return bench.lab.archive.write(trial.key or "", recording.columns, metadata)


def _fate(
    trial: Trial, status: RunStatus, estimates: dict[str, Estimate], missing: dict[str, str], wanted: tuple[str, ...]
) -> tuple[TrialStatus, str | None]:
    """What becomes of a trial whose run has ended, and why in words."""
    if status.state is RunState.FAILED and status.cause == "infeasible":
        return TrialStatus.ABORTED, f"infeasible for this cell: {status.reason}"
    if status.state is RunState.FAILED:
        return TrialStatus.FAILED, status.reason or "the run failed without a reason given"
    if status.state is RunState.STOPPED and status.safety:
        return TrialStatus.ABORTED, f"safety: {status.reason}"
    if status.state is RunState.STOPPED:
        return TrialStatus.EARLY_STOPPED if trial.stop_requested else TrialStatus.ABORTED, status.reason or trial.stop_requested
    if any(metric not in estimates for metric in wanted):
        return TrialStatus.COMPLETED, "; ".join(missing[m] for m in wanted if m in missing)
    return TrialStatus.COMPLETED, None


def _violates(bench: Bench, cycler: Cycler, ref: RunRef) -> bool:
    """Whether the true value of a safe metric, known for synthetic cells alone, passed its limit."""
    safe = bench.campaign.spec.safe_constraints
    if not safe or not isinstance(cycler, KnowsTruth):
        return False
    truth, _ = measure(cycler.truth(ref), bench.campaign.spec.objectives, [c.metric for c in safe])
    return any(c.metric in truth and not c.holds(truth[c.metric].mean) for c in safe)


def _to_text(ref: RunRef) -> str:
    return json.dumps(asdict(ref), sort_keys=True)


def run_ref_of(trial: Trial) -> RunRef:
    """The cycler's own reference of a trial's run."""
    return _run_ref(trial.run_ref or "{}")


@lru_cache(maxsize=4096)
def _run_ref(text: str) -> RunRef:
    """A reference is read at every tick while its test runs."""
    return RunRef(**json.loads(text))
