"""Rules of a run on its way: its status, its rows, its end, and what ends it early."""

from __future__ import annotations

import numpy as np

from adapters.conformance.bench import (
    Bench,
    BrokenRuleError,
    NotTriedError,
    Rows,
    expect,
    expect_same_rows,
    expect_state,
    length,
    tail,
)
from orchestrator.domain.cycler import RunRef, RunState, RunStatus
from orchestrator.domain.errors import SpecError
from orchestrator.domain.protocol import ConstantCurrent
from orchestrator.domain.recording import BDF_COLUMNS, Recording, column_faults

REST_SHARE = 0.02  # of the largest current: below it neither charge nor discharge
CLOCKS_APART_S = 1.0  # what the clocks of device and lab, or the rounding of either, may differ by over a run


def run_ends(bench: Bench) -> None:
    """A run nobody stops ends as FINISHED, not before it started, and says when."""
    end = bench.watched.end
    expect_state(end, RunState.FINISHED)
    in_order = None not in (end.started_h, end.ended_h) and (end.started_h or 0.0) <= (end.ended_h or 0.0)
    expect(in_order, f"it started at {end.started_h} h and ended at {end.ended_h} h.")


def status_goes_forward(bench: Bench) -> None:
    """While a run goes on its status is RUNNING, its start stays, its cycles only grow, and it has no end yet."""
    seen = [look.status for look in bench.watched.looks]
    for status in seen[:-1]:
        expect_state(status, RunState.RUNNING)
        expect(status.ended_h is None, f"a running test says that it ended at {status.ended_h} h.")
    expect(len({status.started_h for status in seen}) == 1, f"the start moves: {[status.started_h for status in seen]}.")
    cycles = [status.cycles for status in seen]
    expect(cycles == sorted(cycles), f"the cycles finished go back: {cycles}.")


def results_at_the_end(bench: Bench) -> None:
    """`status` carries results only once the run is FINISHED, and then every metric that the capabilities promise."""
    running = [look.status.results for look in bench.watched.looks[:-1] if look.status.results]
    expect(not running, f"a running test already reports {running[:1]}.")
    missing = sorted(bench.cycler.capabilities.metrics - set(bench.watched.end.results))
    expect(not missing, f"the finished run does not report {', '.join(missing)}, which the capabilities promise.")


def end_is_final(bench: Bench) -> None:
    """An ended run stays as it ended: later, by a new driver object, and after `stop` was asked for too late."""
    run = bench.watched
    bench.let_pass(bench.step_h)
    expect(bench.cycler.status(run.ref) == run.end, f"later it says {bench.cycler.status(run.ref)} instead of {run.end}.")
    bench.restart()
    expect(bench.cycler.status(run.ref) == run.end, f"a new driver says {bench.cycler.status(run.ref)} instead of {run.end}.")
    bench.cycler.stop(run.ref, "too late")
    bench.cycler.emergency_stop(run.ref.channel)
    expect(bench.cycler.status(run.ref) == run.end, f"after stop() it says {bench.cycler.status(run.ref)} instead of {run.end}.")


def end_frees_the_channel(bench: Bench) -> None:
    """When a run has ended its channel takes another; the ended one keeps its key, its status and its rows."""
    run = bench.watched
    rows = bench.read_on(run.ref)
    again = bench.cycler.submit(run.request)
    expect(again == run.ref, f"the ended run's key, submitted again, gives {again} instead of {run.ref}.")
    bench.expect_started(run.request.key, 1)
    _, following = bench.start(run.ref.channel)
    expect_state(bench.cycler.status(following), RunState.RUNNING)
    bench.let_pass(bench.step_h)
    expect(bench.cycler.status(run.ref) == run.end, f"its status has become {bench.cycler.status(run.ref)}.")
    expect_same_rows(bench.read_on(run.ref), rows, "read after another test began on its channel")


def reading_repeats(bench: Bench) -> None:
    """The same cursor gives the same rows again, by a new driver object too."""
    rows = bench.recorded()
    expect_same_rows(bench.read_on(bench.watched.ref), rows, "read a second time")
    bench.restart()
    expect_same_rows(bench.read_on(bench.watched.ref), rows, "read by a new driver object")


def reading_adds_up(bench: Bench) -> None:
    """Rows read piece by piece while the run went on are the rows of one reading at its end: none missing, none twice."""
    whole = bench.recorded()
    last = bench.watched.looks[-1].cursor
    left = bench.read_on(bench.watched.ref, last)
    expect(not left, f"after the last cursor {length(left)} rows more come of a run that had ended.")
    expect_same_rows(bench.watched.pieces, whole, "the pieces joined")


def reading_resumes(bench: Bench) -> None:
    """From any cursor that was given, which is text, reading goes on with exactly the rows that follow it."""
    whole, read = bench.recorded(), 0
    for look in bench.watched.looks:
        expect(look.cursor is None or isinstance(look.cursor, str), f"the cursor {look.cursor!r} is no text.")
        rest = bench.read_on(bench.watched.ref, look.after)
        expect_same_rows(rest, tail(whole, length(whole) - read), f"read from the cursor {look.after!r} ({read} rows before it)")
        read += length(look.rows)


def rows_are_a_recording(bench: Bench) -> None:
    """Rows are numbers under Battery Data Format names, of equal length; cycles are counted from 1 and never back."""
    rows = bench.recorded()
    faults = column_faults(rows)
    expect(not faults, " ".join(map(str, faults)))
    for name, column in rows.items():
        wanted = "iu" if BDF_COLUMNS[name] == "i" else "fiu"
        expect(column.ndim == 1 and column.dtype.kind in wanted, f"{name} has shape {column.shape} and type {column.dtype}.")
    try:
        Recording(rows)
    except SpecError as error:
        raise BrokenRuleError(str(error)) from error
    if "cycle_count" in rows:
        count = rows["cycle_count"]
        expect(count[0] >= 1 and (np.diff(count) >= 0).all(), f"cycle_count begins with {count[0]} or goes back.")


def time_runs_forward(bench: Bench) -> None:
    """`test_time_second` is finite, begins at the run's start (0) or later, and never runs back."""
    time_s = bench.recorded()["test_time_second"]
    expect(np.isfinite(time_s).all() and time_s[0] >= 0, f"it begins with {time_s[0]} s or is not finite.")
    back = np.flatnonzero(np.diff(time_s) < 0)
    expect(not len(back), f"at row {back[:1]} it runs back, {len(back)} times in all.")


def rows_are_of_the_past(bench: Bench) -> None:
    """No row is later than the moment at which it was read, nor than the run's end."""
    rows = bench.recorded()
    for look in bench.watched.looks:
        if look.elapsed_h is not None:
            _expect_until(look.rows, look.elapsed_h, f"read {look.elapsed_h:.4g} h after the start")
    _expect_until(rows, _lasted_h(bench.watched.end), "of a run that had ended")


def rows_end_with_the_stop(bench: Bench) -> None:
    """No row of a stopped run is later than its end."""
    bench.recorded()
    _, ref = bench.start()
    bench.let_pass(0.5 * _lasted_h(bench.watched.end))
    bench.cycler.stop(ref, "half is enough")
    _expect_until(bench.read_on(ref), _lasted_h(bench.until_ended(ref)), "of a run that was stopped")


def _lasted_h(end: RunStatus) -> float:
    expect(None not in (end.started_h, end.ended_h), f"it started at {end.started_h} h and ended at {end.ended_h} h.")
    return (end.ended_h or 0.0) - (end.started_h or 0.0)


def _expect_until(rows: Rows, until_h: float, which: str) -> None:
    last_s = float(rows["test_time_second"][-1]) if rows else 0.0
    expect(last_s <= until_h * 3600 + CLOCKS_APART_S, f"a row {which} is of {last_s / 3600:.4g} h; {until_h:.4g} h had passed.")


def charging_is_positive(bench: Bench) -> None:
    """Current is positive when charging: the first current flows as the protocol says, and charging shows the higher voltage."""
    rows = bench.recorded()
    amps, volts = rows["current_ampere"], rows["voltage_volt"]
    flows = np.abs(amps) > REST_SHARE * np.abs(amps).max()
    first = next((step for step in bench.watched.request.protocol.walk() if isinstance(step, ConstantCurrent)), None)
    if first is None or not flows.any():
        raise NotTriedError("no current flows in the run")
    seen_A = float(amps[flows][0])
    expect(seen_A * first.current_A > 0, f"the protocol begins with {first.current_A:g} A, the rows with {seen_A:g} A.")
    charge, discharge = flows & (amps > 0), flows & (amps < 0)
    if charge.any() and discharge.any():
        up, down = float(volts[charge].mean()), float(volts[discharge].mean())
        expect(up > down, f"the mean voltage is {up:.4g} V at positive current and {down:.4g} V at negative current.")


def stop_repeats(bench: Bench) -> None:
    """Stopping again is harmless, by a new driver object too: the first order stands, and the rows until then are kept."""
    _, ref = bench.start()
    bench.let_pass(bench.step_h)
    bench.cycler.stop(ref, "first")
    bench.cycler.stop(ref, "second")
    ended, rows = bench.until_ended(ref), bench.read_on(ref)
    bench.restart()
    bench.cycler.stop(ref, "third")
    expect(bench.cycler.status(ref) == ended, f"stopped again it says {bench.cycler.status(ref)} instead of {ended}.")
    expect("first" in (ended.reason or ""), f"the reason is {ended.reason!r}, not that of the first order.")
    expect_same_rows(bench.read_on(ref), rows, "read after stopping again")


def emergency_stop_of_one(bench: Bench) -> None:
    """An emergency stop of a busy channel, twice, ends its run, not as FINISHED; other channels go on."""
    other = bench.another_channel()
    refs = [bench.start(channel)[1] for channel in (bench.channels[0], other)]
    for _ in range(2):
        bench.cycler.emergency_stop(bench.channels[0])
    _ends_early(bench, refs[0])
    expect_state(bench.cycler.status(refs[1]), RunState.RUNNING)


def emergency_stop_of_all(bench: Bench) -> None:
    """An emergency stop of all, twice, by a driver that started nothing, ends every run; then channels take tests again."""
    refs = [bench.start(channel)[1] for channel in bench.channels[:2]]
    bench.restart()
    for _ in range(2):
        bench.cycler.emergency_stop()
    for ref in refs:
        _ends_early(bench, ref)
    bench.start()


def _ends_early(bench: Bench, ref: RunRef) -> None:
    expect_state(bench.until_ended(ref), RunState.STOPPED, RunState.FAILED)


RULES = (
    run_ends,
    status_goes_forward,
    results_at_the_end,
    reading_repeats,
    reading_adds_up,
    reading_resumes,
    rows_are_a_recording,
    time_runs_forward,
    rows_are_of_the_past,
    charging_is_positive,
    end_is_final,
    end_frees_the_channel,
    stop_repeats,
    rows_end_with_the_stop,
    emergency_stop_of_one,
    emergency_stop_of_all,
)
