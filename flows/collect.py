"""A running trial looked at: a stop that was asked for is carried out, a result is taken in when the run has ended."""

from __future__ import annotations

from dataclasses import replace

from flows.answers import BadAnswerError, Rows, all_rows, columns_missing, joined
from flows.bench import Bench, run_ref_of
from flows.emergency import emergency_that_ended, stop_if_latched
from flows.live import ended_rows, keep_rows, kept_rows, let_rows_go, sweep_once
from orchestrator.domain.cycler import Cycler, KnowsTruth, RunRef, RunState, RunStatus
from orchestrator.domain.errors import SpecError
from orchestrator.domain.objectives import Estimate
from orchestrator.domain.recording import Recording, of_the_format
from orchestrator.domain.trial import EMERGENCY_STOP, Trial, TrialStatus
from orchestrator.features import cycle_summary, measure
from orchestrator.features.quality import QualityReport, check_columns
from orchestrator.store import RecordingFile, StaleFenceError

QUALITY, COLUMNS = "recording_quality", "recording_columns"
# Rows that should be there are not, or stand in another order: then figures of cycles, and metrics, may be wrong.
DOUBTFUL = ("gaps", "sparse_cycles", "time_backwards", "endless_cycles")


def collect(bench: Bench, trial: Trial) -> Trial:
    """Look at a running trial: carry out a requested stop, and take in the result if it has ended.

    Raises:
        CyclerUnreachableError: no answer; the trial stands as it did.
    """
    store, name = bench.lab.store, bench.campaign.name
    cycler, ref = bench.cycler_of(trial), run_ref_of(trial)
    sweep_once(bench)
    status = cycler.status(ref)
    if status.state is RunState.RUNNING and trial.stop_requested:
        cycler.stop(ref, trial.stop_requested)
        status = cycler.status(ref)
    status = stop_if_latched(bench, cycler, ref, status)
    if status.state is RunState.UNKNOWN:
        reason = f"{cycler.capabilities.name} does not know the run; a person must look"
        return store.park_unknown(name, trial.number, reason=reason, lab_time_h=bench.now_h)
    if not status.state.ended:
        keep_rows(bench, trial, cycler, ref)
        return trial
    if status.state is RunState.FAILED and status.cause == "timeout":
        return store.park_unknown(name, trial.number, reason=_out_of_time(bench, trial, status), lab_time_h=bench.now_h)
    try:
        return _take_in(bench, trial, cycler, ref, status)
    except BadAnswerError as error:
        return store.park_unknown(name, trial.number, reason=str(error), lab_time_h=bench.now_h)


def take_back(bench: Bench, trial: Trial) -> Trial:
    """Go on with an unknown trial whose run its cycler knows again: a device that starts anew may not know at once.

    Raises:
        CyclerUnreachableError: no answer; the trial stands as it did.
    """
    cycler, ref = bench.cycler_of(trial), run_ref_of(trial)
    status = cycler.status(ref)
    if status.state is RunState.UNKNOWN or (status.state is RunState.FAILED and status.cause == "timeout"):
        return trial
    if status.state.ended and not _can_be_read(bench, trial, cycler, ref):
        return trial
    started_h = status.started_h if status.started_h is not None else trial.started_h
    try:
        return bench.lab.store.acknowledge(
            bench.campaign.name,
            trial.number,
            run_ref=trial.run_ref or "",
            started_h=bench.now_h if started_h is None else started_h,
            fence=trial.fence or 0,
            adopted=True,
        )
    except StaleFenceError:  # a person has settled it meanwhile
        return bench.lab.store.trial(bench.campaign.name, trial.number)


def _can_be_read(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef) -> bool:
    """Whether the rows of a test that has ended can be used: if not, it would be parked again at once."""
    try:
        kept = kept_rows(bench, trial)
        joined([*kept.parts[: kept.whole], *all_rows(cycler, ref, kept.whole_cursor)], cycler, ref)
    except BadAnswerError:
        return False
    return True


def _out_of_time(bench: Bench, trial: Trial, status: RunStatus) -> str:
    """No answer in time says nothing of the cell: unknown, not failed."""
    settle = f"voltloop settle {bench.campaign.name} {trial.number} not-started"
    return f"no result in time: {status.reason}. What the cell would have done is not known; `{settle}` has it tested again"


def _take_in(bench: Bench, trial: Trial, cycler: Cycler, ref: RunRef, status: RunStatus) -> Trial:
    """Close the recording, compute the outcome, and store outcome, state and the channel's release in one transaction."""
    spec = bench.campaign.spec
    kept = kept_rows(bench, trial)
    parts, lost = ended_rows(kept, cycler, ref)
    columns = columns_missing(parts)
    measured = joined(parts, cycler, ref)
    recording, quality = _checked(_recording(bench, trial, cycler, of_the_format(measured), status))
    summaries, oddity = _summaries(recording)
    estimates, missing = measure(recording, spec.objectives, spec.metrics)
    emergency = emergency_that_ended(bench, trial, status)
    fate, because = _fate(trial, status, estimates, missing, tuple(o.metric for o in spec.objectives))
    if emergency:
        fate, because = TrialStatus.ABORTED, emergency
    finished = bench.lab.store.finish(
        bench.campaign.name,
        trial.number,
        status=fate,
        outcome=estimates,
        stopped_because="; ".join(filter(None, (because, oddity, _doubt(quality), lost, columns))) or None,
        ended_h=_end_h(bench, trial, status),
        fence=trial.fence or 0,
        recording=_archived(bench, trial, recording, quality, measured),
        summaries=summaries,
        limits_violated=_violates(bench, cycler, ref),
        cause=EMERGENCY_STOP if emergency else status.cause,
        started_h=status.started_h,
    )
    let_rows_go(bench, trial, kept, len(recording))
    if columns:
        told = {"columns": columns}
        bench.lab.store.log(COLUMNS, campaign=bench.campaign.name, trial=trial.number, data=told, lab_time_h=bench.now_h)
    if not quality.clean:
        said = {"findings": [str(finding) for finding in quality.findings]}
        bench.lab.store.log(QUALITY, campaign=bench.campaign.name, trial=trial.number, data=said, lab_time_h=bench.now_h)
    return finished


def _checked(recording: Recording) -> tuple[Recording, QualityReport]:
    """The recording with what is wrong with its rows beside them; no value is changed."""
    if not len(recording):
        return recording, QualityReport(rows=0)
    flags, report = check_columns(recording.columns, recording.nominal_capacity_Ah)
    return replace(recording, columns={**recording.columns, "quality_flags": flags | int(report.every_row)}), report


def _doubt(quality: QualityReport) -> str | None:
    """Why what was computed from a recording may be wrong, in words."""
    return "; ".join(finding.text for finding in quality.findings if finding.check in DOUBTFUL) or None


def _end_h(bench: Bench, trial: Trial, status: RunStatus) -> float:
    """When the run ended, by the cycler's word; not before its start, whatever was done to a clock meanwhile."""
    ended_h = bench.now_h if status.ended_h is None else status.ended_h
    started_h = trial.started_h if status.started_h is None else status.started_h
    return ended_h if started_h is None else max(ended_h, started_h)


def _summaries(recording: Recording) -> tuple[list[dict[str, object]], str | None]:
    """A row per cycle; a recording that cannot be summed up is kept all the same, and why is said."""
    try:
        return (cycle_summary(recording).to_dicts() if len(recording) else []), None
    except SpecError as error:
        return [], str(error)


def _recording(bench: Bench, trial: Trial, cycler: Cycler, columns: Rows, status: RunStatus) -> Recording:
    experiment = bench.campaign.spec.experiment
    return Recording(
        columns=columns,
        nominal_capacity_Ah=experiment.cell.nominal_capacity_Ah,
        end_of_life=experiment.end_of_life,
        results=status.results,
        complete=status.state is RunState.FINISHED,
        synthetic=cycler.capabilities.synthetic,
        key=trial.key,
    )


def _archived(bench: Bench, trial: Trial, recording: Recording, quality: QualityReport, measured: Rows) -> RecordingFile | None:
    """Everything that the cycler gave, columns of its own too, and what was found wrong."""
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
        "quality": quality.to_json(),
    }
    return bench.lab.archive.write(trial.key or "", {**measured, **recording.columns}, metadata)


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
