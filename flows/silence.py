"""Cyclers that do not answer: who is asked in a tick, in which order, when a cycler is let be, and for how long it was silent.

A question to a dead line may take seconds until it is given up, and a cycler may hold a thousand tests. So a stage lets a
cycler be after a few questions in a row that it did not answer, and the next tick begins behind the last of them: a few dead
channels do not hide the others, and a cycler that is off costs a few questions a tick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from flows.bench import UNREACHABLE, log_silence
from flows.tick import Tick
from orchestrator.domain.errors import CyclerUnreachableError
from orchestrator.domain.trial import Trial, TrialStatus
from orchestrator.store import RESUMED, Event

IN_A_ROW = 3
SILENT, SILENCE_ENDED = "cyclers_silent", "silence_ended"
_REMEMBERED = 200
_GOLDEN = 0.6180339887498949


class Patience:
    """How long a stage goes on asking a cycler: a few times in a row in vain, once if nothing came from it in the whole tick."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._in_a_row: Counter[str] = Counter()

    def has_for(self, cycler: str) -> bool:
        """Whether it is to be asked once more."""
        return self._in_a_row[cycler] < (1 if let_be(self._tick, cycler) else IN_A_ROW)

    def note(self, cycler: str, number: int) -> None:
        """Count what came of the question about a trial."""
        self._in_a_row[cycler] = self._in_a_row[cycler] + 1 if number in self._tick.unheard[cycler] else 0


def in_turn(tick: Tick, trials: list[Trial], *, logged: bool = True) -> Iterator[Trial]:
    """The trials whose cyclers are to be asked now, each with `asking`; what a silent cycler holds beyond a few is left out.

    Args:
        tick: the tick.
        trials: those there is a question about.
        logged: whether silence is logged, so that the log tells where to begin; else lab time does.
    """
    patience = Patience(tick)
    for trial in _turned(tick, trials, logged=logged):
        name = trial.cycler or ""
        if patience.has_for(name):
            yield trial
            patience.note(name, trial.number)


@contextmanager
def asking(tick: Tick, trial: Trial, *, logged: bool = True) -> Iterator[None]:
    """Ask a trial's cycler something; no answer is noted, and logged, and goes no further."""
    try:
        yield
    except CyclerUnreachableError as error:
        if logged:
            log_silence(tick.bench, trial, error)
        note_answer(tick, trial.cycler, trial.number, heard=False)
    else:
        note_answer(tick, trial.cycler, trial.number, heard=True)


def note_answer(tick: Tick, cycler: str | None, number: int, *, heard: bool) -> None:
    """Keep for this tick whether a cycler answered when it was asked about a trial."""
    now, before = (tick.heard, tick.unheard) if heard else (tick.unheard, tick.heard)
    now[cycler or ""].add(number)
    before[cycler or ""].discard(number)


def let_be(tick: Tick, cycler: str) -> bool:
    """Whether a cycler was asked a few times in this tick and has given no answer at all."""
    return len(tick.unheard[cycler]) >= IN_A_ROW and not tick.heard[cycler]


def count_silence(tick: Tick) -> None:
    """See whether nothing but silence came from every cycler that runs tests, and keep count of such ticks in the log."""
    names = sorted({trial.cycler or "" for trial in tick.having(TrialStatus.RUNNING, TrialStatus.DISPATCHING)})
    silent = bool(names) and all(tick.unheard[name] and not heard_of(tick, name) for name in names)
    store, campaign, now_h = tick.bench.lab.store, tick.campaign.name, tick.bench.now_h
    if not silent and not _said_before(tick):
        return
    last = store.events(campaign, limit=1, kinds=(SILENT, SILENCE_ENDED, RESUMED))
    before = int(last[-1].data["ticks"]) if last and last[-1].kind == SILENT else 0
    if silent:
        tick.silent_ticks = before + 1
        store.log(SILENT, campaign=campaign, data={"cyclers": names, "ticks": before + 1}, lab_time_h=now_h)
    elif before:
        store.log(SILENCE_ENDED, campaign=campaign, data={"ticks": before}, lab_time_h=now_h)


def heard_of(tick: Tick, cycler: str) -> bool:
    """Whether a cycler has said anything of use in this tick; that it still does not know a run is none."""
    return any(tick.trials[number].status is not TrialStatus.UNKNOWN for number in tick.heard[cycler])


def _turned(tick: Tick, trials: list[Trial], *, logged: bool) -> list[Trial]:
    """Trials by number, beginning behind the last one of its cycler that was asked about in vain."""
    if not logged:
        begin = int(len(trials) * (3600.0 * tick.bench.now_h * _GOLDEN % 1.0))
        return [*trials[begin:], *trials[:begin]]
    cycler = {trial.number: trial.cycler for trial in trials}
    last = {cycler[event.trial]: event.trial for event in _said_before(tick) if event.trial in cycler} if trials else {}
    return sorted(trials, key=lambda trial: (trial.number <= last.get(trial.cycler, 0), trial.number))


def _said_before(tick: Tick) -> list[Event]:
    """The latest questions in vain of earlier ticks, in order; read once."""
    if tick.said_before is None:
        tick.said_before = tick.bench.lab.store.events(tick.campaign.name, limit=_REMEMBERED, kinds=(UNREACHABLE, SILENT))
    return tick.said_before
