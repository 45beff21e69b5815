"""When a person is needed: what only a person can settle, tests that fail in a row, cyclers that have fallen silent."""

from __future__ import annotations

from typing import NamedTuple

from flows.bench import UNREACHABLE, run_ref_of
from flows.closing import close_campaign
from flows.latch import LIFT
from flows.sharing import free_channels, waits_for_others
from flows.silence import heard_of, let_be, note_answer
from flows.tick import Tick, places_left
from orchestrator.domain.clock import as_datetime
from orchestrator.domain.cycler import RunState
from orchestrator.domain.errors import CyclerUnreachableError
from orchestrator.domain.trial import DEVICE, EMERGENCY_STOP, REJECTED, WITHDRAWN, Trial, TrialStatus
from orchestrator.store import RESUMED

_S = TrialStatus
FAILURES_IN_A_ROW = 4
UNANSWERED_UNTIL_ASKED = 20
POLLS_UNTIL_STOPPED, SHORTEST_PATIENCE_S = 10, 600.0
NO_ANSWER = "no answer from"
ASKED = "campaign_needs_attention"
# Kinds of questions: to be seen in trials and channels, a silent cycler's, a proposer's.
STATE, SILENCE, DOUBT = "state", "silence", "doubt"


def failing(tick: Tick) -> str | None:
    """Why a person should look before more cells are spent: the last few trials since they last looked all failed."""
    ended = ends_one_by_one(tick, looked_at(tick))
    last = ended[-FAILURES_IN_A_ROW:]
    if len(ended) < FAILURES_IN_A_ROW:
        return None
    if any(t.status not in (_S.FAILED, _S.ABORTED, _S.CANCELLED) or t.stop_requested for t in last):
        return None
    return f"the last {FAILURES_IN_A_ROW} trials all failed; the latest: {last[-1].stopped_because}"


def ends_one_by_one(tick: Tick, first: int) -> list[Trial]:
    """Ended trials in order, after so many; ended together by a fault of the device they are one end; unwanted ones are none."""
    ended: list[Trial] = []
    in_order = sorted((t for t in tick.trials.values() if t.status.ended), key=lambda t: (t.ended_h or 0.0, t.number))
    for trial in in_order[first:]:
        if trial.cause in (WITHDRAWN, REJECTED, EMERGENCY_STOP):
            continue
        last = ended[-1] if ended else None
        if not (last and trial.cause == last.cause == DEVICE and trial.ended_h == last.ended_h):
            ended.append(trial)
    return ended


def looked_at(tick: Tick) -> int:
    """How many trials had ended when a person last told the campaign to go on."""
    looks = tick.bench.lab.store.events(tick.campaign.name, limit=1, kinds=(RESUMED,))
    return int(looks[-1].data.get("ended", 0)) if looks else 0


def answers(tick: Tick, trial: Trial) -> bool:
    """Whether a trial's cycler can be asked now; one that has not answered a few times is not."""
    name = trial.cycler or ""
    if let_be(tick, name):
        return False
    try:
        known = tick.bench.cycler_of(trial).status(run_ref_of(trial)).state is not RunState.UNKNOWN
    except CyclerUnreachableError:
        known = False
    note_answer(tick, name, trial.number, heard=known)
    return known


def publish(tick: Tick) -> None:
    """Say where the campaign stands: ended, waiting for a person, or running on."""
    store, name = tick.bench.lab.store, tick.campaign.name
    campaign = store.campaign(name)
    if campaign.status != "running":
        return
    if question := _question(tick):
        # A person may have answered while the tick was at work; then the next tick knows, and asks what is left to ask.
        if campaign.stop_requested == tick.campaign.stop_requested and store.trials(name) == list(tick.trials.values()):
            store.ask_person(name, question.text, asks=question.asks, lab_time_h=tick.bench.now_h)
    elif tick.having(_S.RUNNING, _S.DISPATCHING, _S.APPROVED):
        return
    elif tick.halt:
        close_campaign(tick.bench.lab, name, "stopped" if tick.campaign.stop_requested else "completed", tick.halt)
    elif not places_left(tick):
        close_campaign(tick.bench.lab, name, "completed", "the budget of trials is used")


class Question(NamedTuple):
    """What only a person can settle, and what kind of thing it is: whether it still stands can be seen from outside, or not."""

    text: str
    asks: str = STATE


def _question(tick: Tick) -> Question | None:
    """What only a person can settle, once nothing goes on without them."""
    if text := _of_the_state(tick):
        return Question(text)
    if running := tick.having(_S.RUNNING, _S.DISPATCHING):
        silent = _silent(tick, running)
        return Question(silent, SILENCE) if silent else None
    if tick.having(_S.APPROVED, _S.PROPOSED) or tick.halt or not places_left(tick):
        return None
    if tick.doubt or tick.proposed or waits_for_others(tick):
        # This tick's proposals were all refused, or other campaigns hold the channels: a later tick goes on.
        return Question(tick.doubt, DOUBT) if tick.doubt else None
    return Question("no candidate is left to propose", DOUBT)


def _of_the_state(tick: Tick) -> str | None:
    """What trials and channels as they stand now ask of a person."""
    if tick.emergency and not tick.halt and (places_left(tick) or not all(t.status.ended for t in tick.trials.values())):
        return f"{tick.emergency}; {LIFT}"
    if running := tick.having(_S.RUNNING, _S.DISPATCHING):
        return _goes_on_regardless(tick, running)
    if tick.failing and not tick.halt and (places_left(tick) or tick.having(_S.PROPOSED, _S.APPROVED)):
        return tick.failing
    if tick.having(_S.APPROVED) and (free_channels(tick) or waits_for_others(tick)):
        return None
    if parked := tick.having(_S.UNKNOWN):
        return f"trial {parked[0].number} may or may not be running; a person must look at channel {parked[0].channel}"
    if tick.having(_S.APPROVED):
        return "no channel is free to run the approved trials"
    if proposed := tick.having(_S.PROPOSED):
        return f"{len(proposed)} proposed trials wait for approval"
    if tick.halt or tick.doubt or not places_left(tick):
        return None
    stuck = not (tick.proposed or free_channels(tick, if_approved=True) or waits_for_others(tick))
    return "no channel is free to run the remaining trials" if stuck else None


def _goes_on_regardless(tick: Tick, running: list[Trial]) -> str | None:
    """Why a person should go to a cycler that was told to stop a test, time and again, and says that it still runs."""
    told = [trial for trial in running if trial.status is _S.RUNNING and trial.stop_requested]
    asked = tick.bench.lab.store.events(tick.campaign.name, kinds=("stop_requested",)) if told else []
    for trial in told:
        cycler = tick.bench.cycler_of(trial)
        since_h = max((event.lab_time_h for event in asked if event.trial in (None, trial.number)), default=tick.bench.now_h)
        patience_h = max(POLLS_UNTIL_STOPPED * cycler.capabilities.poll_s, SHORTEST_PATIENCE_S) / 3600
        if tick.bench.now_h - since_h > patience_h and trial.number in tick.heard[trial.cycler or ""]:
            name = cycler.capabilities.name
            return (
                f"trial {trial.number} is to stop since {as_datetime(since_h):%Y-%m-%d %H:%M} UTC ({trial.stop_requested}) and "
                f"{name} says that it still runs. Go to channel {trial.channel}, or press `voltloop estop --cycler {name}`."
            )
    return None


def _silent(tick: Tick, running: list[Trial]) -> str | None:
    """Why a person should look at cyclers that have stopped answering: tick after tick nothing came from any that runs tests."""
    if tick.silent_ticks < UNANSWERED_UNTIL_ASKED:
        return None
    names = ", ".join(sorted({trial.cycler or "" for trial in running}))
    said = tick.bench.lab.store.events(tick.campaign.name, limit=1, kinds=(UNREACHABLE,))
    last = "".join(str(event.data.get("error", "")) for event in said).rstrip(".")
    return (
        f"{NO_ANSWER} {names}, asked {tick.silent_ticks} times; at last: {last}. Look at it and its line; when it answers, "
        "the service goes on by itself, and so does `voltloop resume`."
    )


def hear_again(tick: Tick) -> None:
    """A campaign that waits for silent cyclers goes on when they answer."""
    store, name = tick.bench.lab.store, tick.campaign.name
    if not (tick.campaign.status_reason or "").startswith(NO_ANSWER):
        return
    if any(heard_of(tick, name) for name in list(tick.heard)) or not tick.having(_S.RUNNING, _S.DISPATCHING):
        store.wake(name, by="the cyclers answer", lab_time_h=tick.bench.now_h)


def _unheard_since_told(tick: Tick, trial: Trial) -> bool:
    return trial.stop_requested is not None and trial.number not in tick.heard[trial.cycler or ""]


def look_again(tick: Tick) -> None:
    """While a campaign waits: ask what there is to ask now, and go on by itself when that is nothing.

    A proposer's doubt cannot be seen without proposing: it stands until something has happened.
    """
    store, name, now_h = tick.bench.lab.store, tick.campaign.name, tick.bench.now_h
    asked = store.events(name, limit=1, kinds=(ASKED,))
    kind = asked[-1].data.get("asks", DOUBT) if asked else DOUBT
    if kind == SILENCE or store.campaign(name).status != "needs_attention":
        return
    question = _of_the_state(tick)
    if question is None and any(_unheard_since_told(tick, trial) for trial in tick.having(_S.RUNNING)):
        return  # no answer is no news
    if question is not None and question != tick.campaign.status_reason:
        store.ask_person(name, question, asks=STATE, lab_time_h=now_h)
    elif question is None and (kind == STATE or store.events(name, limit=1)[-1].id != asked[-1].id):
        store.wake(name, by="what was asked has been answered", lab_time_h=now_h)
