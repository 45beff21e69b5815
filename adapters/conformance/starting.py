"""Rules of what a driver says of itself, of unknown things, and of starting: one key, one start."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace

from adapters.conformance.bench import (
    Bench,
    NotTriedError,
    all_at_once,
    close,
    expect,
    expect_raises,
    expect_state,
)
from orchestrator.domain.cycler import Capabilities, Cycler, Revocable, RunRef, RunRequest, RunState
from orchestrator.domain.errors import ChannelBusyError, CyclerError, KeyRevokedError, RequestRefusedError
from orchestrator.domain.protocol import SafetyLimits

METHODS = ("submit", "find", "status", "read", "stop", "emergency_stop")
CALLERS = 8


def structure(bench: Bench) -> None:
    """It has the methods of `orchestrator.domain.Cycler`."""
    expect(isinstance(bench.cycler, Cycler), f"{type(bench.cycler).__name__} lacks some of capabilities, {', '.join(METHODS)}.")
    missing = [name for name in METHODS if not callable(getattr(bench.cycler, name))]
    expect(not missing, f"{', '.join(missing)} cannot be called.")


def capabilities(bench: Bench) -> None:
    """Its capabilities name it, its channels and the limits it enforces, and a new driver says the same."""
    can = bench.cycler.capabilities
    expect(isinstance(can, Capabilities), f"capabilities is a {type(can).__name__}.")
    expect(can.name, "the name is empty.")
    expect(can.channels and len(set(can.channels)) == len(can.channels), f"channels must differ, one at least: {can.channels}.")
    strange = sorted(can.limits - set(SafetyLimits.__dataclass_fields__))
    expect(not strange, f"{', '.join(strange)} is no field of SafetyLimits.")
    expect(can.poll_s > 0, f"poll_s is {can.poll_s}.")
    bench.restart()
    expect(bench.cycler.capabilities == can, f"a new driver object says {bench.cycler.capabilities} instead of {can}.")


def unknown_key(bench: Bench) -> None:
    """`find` of a key never submitted is None."""
    _searchable(bench)
    found = bench.cycler.find(bench.request().key)
    expect(found is None, f"it gives {found}.")


def unknown_reference(bench: Bench) -> None:
    """`status` of an unknown reference is UNKNOWN, never an exception; nothing is read of it, stopping it stops nothing."""
    request, ref = bench.start()
    stranger = RunRef(ref.cycler, f"{request.key}-stranger", request.channel, "a native id that nobody gave")
    expect_state(bench.cycler.status(stranger), RunState.UNKNOWN)
    rows, _ = bench.cycler.read(stranger)
    expect(not rows, f"read() gives {len(rows)} columns of it.")
    with suppress(CyclerError):  # to say that nothing was stopped is as good as silence
        bench.cycler.stop(stranger, "it is not there")
    expect_state(bench.cycler.status(ref), RunState.RUNNING)


def submit_starts(bench: Bench) -> None:
    """`submit` gives a reference of text that names cycler, key and channel; the run is then RUNNING and says since when."""
    request, ref = bench.start()
    expect((ref.cycler, ref.key, ref.channel) == (bench.cycler.capabilities.name, request.key, request.channel), f"it is {ref}.")
    expect(all(isinstance(part, str) for part in asdict(ref).values()), f"{ref} is not made of text alone.")
    expect(RunRef(**json.loads(json.dumps(asdict(ref)))) == ref, f"{ref} does not survive a journey as JSON.")
    status = bench.cycler.status(ref)
    expect_state(status, RunState.RUNNING)
    expect(status.started_h is not None, "it does not say when it started.")
    expect(status.ended_h is None, f"a running test says that it ended at {status.ended_h} h.")
    bench.expect_started(request.key, 1)


def stop_ends(bench: Bench) -> None:
    """A stopped run ends, as STOPPED, with the reason given, and frees its channel."""
    _, ref = bench.start()
    bench.let_pass(bench.step_h)
    bench.cycler.stop(ref, "the rule wants it")
    status = bench.until_ended(ref)
    expect_state(status, RunState.STOPPED)
    expect("the rule wants it" in (status.reason or ""), f"the reason given comes back as {status.reason!r}.")
    expect(status.ended_h is not None, "it does not say when it ended.")
    bench.start()


def key_starts_once(bench: Bench) -> None:
    """A key submitted again starts nothing and gives the same reference, from a new driver object too."""
    request, ref = bench.start()
    for moment in ("again", "by a new driver object"):
        other = bench.submit(request)
        expect(other == ref, f"submitted {moment} it gives {other} instead of {ref}.")
        bench.expect_started(request.key, 1)
        bench.restart()


def key_keeps_content(bench: Bench) -> None:
    """A key submitted with another content is refused (RequestRefusedError), and the first run goes on."""
    request, ref = bench.start()
    other = replace(request, max_cycles=request.max_cycles + 1)
    expect_raises(RequestRefusedError, lambda: bench.submit(other), "the same key for one cycle more")
    expect_state(bench.cycler.status(ref), RunState.RUNNING)
    bench.expect_started(request.key, 1)


def find_by_key(bench: Bench) -> None:
    """A run is found by its key after its reference was lost, by a new driver object too."""
    _searchable(bench)
    request, ref = bench.start()
    expect(bench.cycler.find(request.key) == ref, f"find() gives {bench.cycler.find(request.key)} instead of {ref}.")
    bench.restart()
    found = bench.cycler.find(request.key)
    expect(found == ref, f"a new driver object gives {found} instead of {ref}.")


def restart_disturbs_nothing(bench: Bench) -> None:
    """A run goes on while drivers come and go, and has the same start for each."""
    _, ref = bench.start()
    before = bench.cycler.status(ref)
    bench.restart()
    after = bench.cycler.status(ref)
    expect_state(after, RunState.RUNNING)
    expect(after.started_h == before.started_h, f"it started at {before.started_h} h, for the new driver at {after.started_h} h.")


def busy_channel(bench: Bench) -> None:
    """A busy channel refuses another key with ChannelBusyError; nothing is started, and what runs there goes on."""
    _, ref = bench.start()
    other = bench.request(ref.channel)
    expect_raises(ChannelBusyError, lambda: bench.submit(other), "a second test on a busy channel")
    bench.expect_untouched(other)
    expect_state(bench.cycler.status(ref), RunState.RUNNING)


def unknown_channel(bench: Bench) -> None:
    """A channel that it does not have is refused with RequestRefusedError; nothing is started."""
    other = bench.request("a channel that nobody has")
    expect_raises(RequestRefusedError, lambda: bench.submit(other), "a test on a channel that is not there")
    bench.expect_untouched(other)


def threads_one_key(bench: Bench) -> None:
    """Callers that submit one key at the same moment, through one driver or two, get one reference and one start."""
    request, other = bench.request(), bench.make()
    answers = all_at_once([_submission(cycler, request) for cycler in (bench.cycler, other) * (CALLERS // 2)])
    bench.submit(request)
    close(other)
    failed = [answer for answer in answers if isinstance(answer, Exception)]
    expect(not failed, f"{len(failed)} of {CALLERS} callers got {failed[:1]}.")
    expect(len(set(map(str, answers))) == 1, f"{CALLERS} callers got different references: {sorted(set(map(str, answers)))}.")
    bench.expect_started(request.key, 1)


def threads_one_channel(bench: Bench) -> None:
    """Of callers that submit different keys to one channel at the same moment one wins; the others get ChannelBusyError."""
    requests = [bench.request(bench.channels[0]) for _ in range(CALLERS)]
    answers = all_at_once([_submission(bench.cycler, request) for request in requests])
    won = [(r, a) for r, a in zip(requests, answers, strict=True) if isinstance(a, RunRef)]
    for request, _ in won:
        bench.submit(request)
    expect(len(won) == 1, f"{len(won)} of {CALLERS} submissions to one channel were accepted.")
    wrong = [a for a in answers if not isinstance(a, (RunRef, ChannelBusyError))]
    expect(not wrong, f"a loser got {wrong[:1]} instead of ChannelBusyError.")
    for request in requests:
        if request is not won[0][0]:
            bench.expect_untouched(request)


def revoked_key(bench: Bench) -> None:
    """A revoked key is never started, by a new driver object neither; revoking a started key gives its run, which goes on."""
    request = bench.request()
    for _ in range(2):
        found = _revoke(bench.cycler, request.key)
        expect(found is None, f"revoking a key never submitted gives {found}.")
    for _ in range(2):
        expect_raises(KeyRevokedError, lambda: bench.submit(request), "a revoked key")
        bench.expect_untouched(request)
        bench.restart()
    started, ref = bench.start()
    known = _revoke(bench.cycler, started.key)
    expect(known == ref, f"revoking a started key gives {known} instead of {ref}.")
    expect_state(bench.cycler.status(ref), RunState.RUNNING)


def _revoke(cycler: Cycler, key: str) -> RunRef | None:
    if not isinstance(cycler, Revocable):
        raise NotTriedError("it cannot revoke keys")
    return cycler.revoke(key)


def _submission(cycler: Cycler, request: RunRequest) -> Callable[[], RunRef]:
    return lambda: cycler.submit(request)


def _searchable(bench: Bench) -> None:
    if not bench.cycler.capabilities.searchable:
        raise NotTriedError("it says that it cannot be searched by key")


RULES = (
    structure,
    capabilities,
    unknown_key,
    unknown_channel,
    submit_starts,
    stop_ends,
    unknown_reference,
    key_starts_once,
    key_keeps_content,
    find_by_key,
    restart_disturbs_nothing,
    busy_channel,
    revoked_key,
    threads_one_key,
    threads_one_channel,
)
