"""Many processes tick several campaigns of one lab while SIGKILL strikes them at random: nothing starts twice, nothing is lost.

    python benchmarks/killed_processes.py [--engine sqlite,postgres] [--processes 8] [--channels 32] [--trials 1500] [--kills 100]

Several campaigns share one replayed cycler, whose journal on disk counts physical starts. Each process makes ticks of all of them
in an order of its own; one is killed about every `--every` seconds and another takes its place, until all campaigns have ended.
Processes are forked from one that holds nothing open, so that they live long enough to be killed in the middle of things. The
PostgreSQL server is a throwaway one, started from the installed binaries.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.replay import ReplayCycler
from benchmarks.tables import show
from flows import Lab
from flows.campaign import advance_campaign
from orchestrator.domain import Budget, CampaignSpec, Candidate, CandidateTable, Experiment, Objective, TrialStatus
from orchestrator.domain.clock import AcceleratedClock
from orchestrator.store import NewTrial
from tests.postgres_cluster import Cluster, server_binaries

CAMPAIGNS = 5
ROWS = tuple({"x": float(i), "result": 10.0 - (i - 7) ** 2, "hours": 0.5 + 0.1 * (i * 7 % 10)} for i in range(40))


class Arena:
    """A lab that its processes open each for itself: the same folder, database, cycler and lab time."""

    def __init__(self, folder: Path, url: str | None, options: argparse.Namespace) -> None:
        self.folder, self.url, self.options = folder, url, options
        self.clock = AcceleratedClock(3600.0 / options.hour_s)

    def open(self) -> Lab:
        """The lab, with a driver of its own."""
        cycler = ReplayCycler(ROWS, "result", noise_sd=1.0, duration_h="hours", channels=self.options.channels)
        return Lab.open(self.folder, cyclers=[cycler], clock=self.clock, database_url=self.url, busy_timeout_s=60.0)

    @property
    def names(self) -> list[str]:
        """The campaigns'."""
        return [f"campaign-{n}" for n in range(CAMPAIGNS)]

    def register(self) -> None:
        """All campaigns, with every trial chosen already: it is dispatch that is tried here."""
        share = self.options.trials // CAMPAIGNS
        with self.open() as lab:
            for name in self.names:
                spec = CampaignSpec(
                    name=name,
                    space=CandidateTable(ROWS, ("x",)),
                    objectives=(Objective("result", "maximize", threshold=-2000.0),),
                    budget=Budget(trials=share),
                    experiment=Experiment("cc_cv", "lfp_a123"),
                )
                lab.store.register_campaign(spec, lab_time_h=lab.now_h())
                rows = [ROWS[n % len(ROWS)] for n in range(share)]
                new = [NewTrial(Candidate({"x": row["x"]}, f"row{int(row['x'])}"), "queue", TrialStatus.APPROVED) for row in rows]
                lab.store.add_trials(name, new, lab_time_h=lab.now_h())

    def work(self, seed: int) -> None:
        """What one process does: ticks of all campaigns, until none runs."""
        order = random.Random(seed)
        with self.open() as lab:
            while running := [c.name for c in lab.store.campaigns() if c.status == "running"]:
                order.shuffle(running)
                for name in running:
                    advance_campaign(lab, name)
                time.sleep(0.02)


def forked(arena: Arena, seed: int) -> int:
    """A process at work; it ends with 0 when every campaign has ended."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        arena.work(seed)
        code = 0
    except Exception:  # noqa: BLE001 - a process of its own, which has nobody else to tell
        traceback.print_exc()
    finally:
        os._exit(code)


def fight(arena: Arena) -> dict[str, float]:
    """Keep so many processes at work and kill one of them now and then, until all campaigns have ended."""
    options, moments = arena.options, random.Random(arena.options.seed)
    seeds = iter(range(10_000))
    at_work = [forked(arena, next(seeds)) for _ in range(options.processes)]
    kills, faults, start = 0, 0, time.monotonic()
    strike_at = start + moments.expovariate(1 / options.every)
    while at_work:
        time.sleep(0.01)
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            at_work.remove(done)
            if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
                faults += not os.WIFSIGNALED(status)
                at_work.append(forked(arena, next(seeds)))
        elif time.monotonic() >= strike_at and at_work:
            os.kill(moments.choice(at_work), signal.SIGKILL)
            kills += 1
            strike_at = time.monotonic() + moments.expovariate(1 / options.every)
        if time.monotonic() - start > options.longest_s:
            for process in at_work:
                os.kill(process, signal.SIGKILL)
            break
    return {"kills": kills, "processes that ended with an error": faults, "s": time.monotonic() - start}


def verdict(arena: Arena) -> tuple[dict[str, float], list[str]]:
    """What is in the store and in the cycler's journal: counts, and everything that is wrong."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    with arena.open() as lab:
        (cycler,) = lab.cyclers_for(lab.store.campaigns()[0].spec).values()
        starts = cycler.physical_starts()  # type: ignore[attr-defined]
        counts["physical starts"] = sum(starts.values())
        faults += [f"the key {key} was started {n} times" for key, n in starts.items() if n > 1]
        faults += [f"trial {t} ran {n} times" for t, n in Counter(key.rsplit("/", 1)[0] for key in starts).items() if n > 1]
        for name in arena.names:
            campaign, trials = lab.store.campaign(name), lab.store.trials(name)
            if campaign.status != "completed":
                faults.append(f"{name} is {campaign.status}: {campaign.status_reason}")
            events = lab.store.events(name)
            adopted = [e for e in events if e.kind == "trial_running" and e.data.get("adopted")]
            counts["adopted"] += len(adopted)
            counts["intents given up"] += sum(e.kind == "dispatch_withdrawn" for e in events)
            for trial in trials:
                ref = cycler.find(trial.key or "")
                history = lab.store.outcome_history(name, trial.number)
                if trial.status is not TrialStatus.COMPLETED or len(history) != 1 or ref is None:
                    faults.append(f"{name} trial {trial.number} is {trial.status} with {len(history)} outcomes")
                elif history[0]["mean"] != cycler.status(ref).results["result"].mean:
                    faults.append(f"{name} trial {trial.number} has another result than the cycler's")
                else:
                    counts["outcomes"] += 1
        faults += [f"channel {c.cycler}/{c.name} is {c.state}" for c in lab.store.channels() if c.state != "free"]
    return dict(counts), faults


@contextmanager
def database(engine: str) -> Iterator[str | None]:
    """A PostgreSQL database of a throwaway server; None, the file in the lab's folder, for SQLite."""
    if engine == "sqlite":
        yield None
        return
    cluster = Cluster(server_binaries())
    try:
        cluster.start()
        yield cluster.new_database()
    finally:
        cluster.stop()


def main() -> int:
    """Fight on each engine, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="sqlite,postgres")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--trials", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=100, help="at least so many must have struck")
    parser.add_argument("--every", type=float, default=0.4, help="mean seconds between kills")
    parser.add_argument("--hour-s", type=float, default=1.0, help="seconds that an hour of lab time takes")
    parser.add_argument("--longest-s", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, wrong = [], []
    for engine in options.engine.split(","):
        folder = Path(tempfile.mkdtemp(prefix="voltloop-killed-"))
        try:
            with database(engine) as url:
                arena = Arena(folder / "lab", url, options)
                arena.register()
                fought = fight(arena)
                counts, faults = verdict(arena)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if fought["processes that ended with an error"]:
            faults.append(f"{fought['processes that ended with an error']:g} processes ended with an error")
        if fought["kills"] < options.kills:
            faults.append(f"{fought['kills']:g} kills of {options.kills} asked: raise --trials or lower --every")
        wrong += [f"{engine}: {fault}" for fault in faults]
        rows.append({"engine": engine, "trials": options.trials, **fought, **counts, "faults": len(faults)})
    show(rows, f"{options.processes} processes, {options.channels} channels, SIGKILL")
    for fault in wrong[:40]:
        print(fault)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
