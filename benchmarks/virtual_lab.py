"""A virtual lab at scale: the real tick, store and proposer over many channels and virtual months of replayed cells.

    python benchmarks/virtual_lab.py utilisation    48 channels, asynchronous beside synchronous, same campaign
    python benchmarks/virtual_lab.py scale          1 000 channels for 30 virtual days

Virtual time pays for everything: a tick happens only at a multiple of the poll interval, and the wall seconds that ticks take
(collecting, proposing, dispatching) pass in the lab as well. The landscape is made up here: 300 protocols over four
features, noise as large as its spread, durations with a given coefficient of variation.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.replay import ReplayCycler
from benchmarks.tables import keep, show
from flows import Lab, advance_campaign
from flows.control import start_campaign
from orchestrator.domain import Budget, CampaignSpec, CandidateTable, Objective, Trial, VirtualClock

FEATURES = ("c1", "c2", "c3", "c4")
ROWS, NOISE_CYCLES = 300, 150.0


class PolledClock(VirtualClock):
    """Virtual time in which the lab looks only at multiples of a poll interval, and the program's own seconds pass too."""

    def __init__(self, poll_h: float) -> None:
        super().__init__(0.0)
        self._poll_h, self._jumped_at = poll_h, time.monotonic()

    def now_h(self) -> float:
        """The last poll, plus the wall time spent since."""
        return super().now_h() + (time.monotonic() - self._jumped_at) / 3600

    def wait_until(self, lab_time_h: float) -> None:
        """Go to the first poll at or after a time."""
        polls = math.ceil(max(lab_time_h, self.now_h()) / self._poll_h)
        super().wait_until(polls * self._poll_h)
        self._jumped_at = time.monotonic()


class BatchReplay(ReplayCycler):
    """The synchronous control: nothing is looked at before the whole batch has ended."""

    def next_end_h(self) -> float | None:
        """When the last of the running tests ends."""
        return max((self._end_h(run) for run in self._running()), default=None)


@dataclass(frozen=True)
class Watched:
    """What one virtual lab did."""

    busy_h: float
    channels: int
    since_h: float
    until_h: float
    trials: list[Trial]
    wall_s: float
    cpu_s: float
    ticks: int

    @property
    def utilisation(self) -> float:
        """Busy channel time over channel time, the warm-up left out."""
        return self.busy_h / (self.channels * (self.until_h - self.since_h))


def landscape(seed: int, mean_h: float, variation: float) -> list[dict[str, float | str]]:
    """Made-up protocols: a smooth life over four features, and lognormal durations."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(0, 1, (ROWS, len(FEATURES)))
    life = 900 + 300 * np.exp(-6 * ((X - 0.6) ** 2).sum(axis=1)) - 150 * X[:, 0] * X[:, 3]
    sd = math.sqrt(math.log(1 + variation**2))
    duration = mean_h * np.exp(rng.normal(-0.5 * sd**2, sd, ROWS))
    return [
        {"id": f"p{i}", **dict(zip(FEATURES, X[i].tolist(), strict=True)), "life": float(life[i]), "h": float(duration[i])}
        for i in range(ROWS)
    ]


def watch(kind: type[ReplayCycler], channels: int, days: float, poll_min: float, mean_h: float, seed: int) -> Watched:
    """Run one lab for so many virtual days; the warm-up is the first mean duration."""
    rows = landscape(seed, mean_h, 0.4)
    spec = CampaignSpec(
        name="virtual",
        space=CandidateTable([{k: r[k] for k in ("id", *FEATURES)} for r in rows], features=FEATURES),
        objectives=(Objective("life", "maximize"),),
        budget=Budget(trials=10**7),
        seed=seed,
    )
    start, cpu_start = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        cycler = kind(rows, "life", noise_sd=NOISE_CYCLES, duration_h="h", channels=channels, seed=seed, synthetic=True)
        with Lab.open(folder, cyclers=[cycler], clock=PolledClock(poll_min / 60)) as lab:
            start_campaign(lab, spec)
            ticks = 0
            while lab.now_h() < days * 24:
                report = advance_campaign(lab, "virtual")
                ticks += 1
                if report.ended:
                    raise SystemExit(f"the campaign ended early: {lab.store.campaign('virtual').status_reason}")
            trials = lab.store.trials("virtual")
    since_h, until_h = mean_h, days * 24
    busy_h = sum(_overlap(t, since_h, until_h) for t in trials)
    return Watched(busy_h, channels, since_h, until_h, trials, time.monotonic() - start, time.process_time() - cpu_start, ticks)


def _overlap(trial: Trial, since_h: float, until_h: float) -> float:
    if trial.started_h is None:
        return 0.0
    end = until_h if trial.ended_h is None else min(trial.ended_h, until_h)
    return max(0.0, end - max(trial.started_h, since_h))


def to_target(seen: Watched, seed: int, mean_h: float) -> tuple[int | None, float | None]:
    """Cells and days until five results of protocols within 1 % of the best were in."""
    truth = {str(r["id"]): float(r["life"]) for r in landscape(seed, mean_h, 0.4)}
    ended = sorted((t for t in seen.trials if t.ended_h is not None), key=lambda t: t.ended_h or 0.0)
    good = [i for i, t in enumerate(ended) if truth[str(t.candidate.id)] >= 0.99 * max(truth.values())]
    if len(good) < 5:
        return None, None
    return good[4] + 1, (ended[good[4]].ended_h or 0.0) / 24


def summary(name: str, seen: Watched, seed: int, mean_h: float) -> dict[str, object]:
    """One line of the table."""
    cells, days = to_target(seen, seed, mean_h)
    return {
        "lab": name,
        "seed": seed,
        "channels": seen.channels,
        "tests ended": sum(t.ended_h is not None for t in seen.trials),
        "utilisation": round(seen.utilisation, 4),
        "cells to target": cells,
        "days to target": days,
        "ticks": seen.ticks,
        "wall s": round(seen.wall_s, 1),
        "cpu s": round(seen.cpu_s, 1),
    }


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("utilisation", "scale"))
    parser.add_argument("--channels", type=int)
    parser.add_argument("--days", type=float)
    parser.add_argument("--mean-h", type=float, default=100.0, help="mean duration of a test, hours")
    parser.add_argument("--poll-min", type=float, help="poll interval, minutes")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    scale = given.what == "scale"
    channels, days = given.channels or (1000 if scale else 48), given.days or (30 if scale else 60)
    poll_min = given.poll_min or (60.0 if scale else 10.0)
    kinds = {"asynchronous": ReplayCycler} if scale else {"asynchronous": ReplayCycler, "synchronous": BatchReplay}
    rows = []
    for seed in range(given.seeds):
        for name, kind in kinds.items():
            seen = watch(kind, channels, days, poll_min, given.mean_h, seed)
            rows.append(summary(name, seen, seed, given.mean_h))
            print(rows[-1], flush=True)
    show(rows, f"{days:g} virtual days, tests of {given.mean_h:g} h (cv 0.4), polled every {poll_min:g} min")
    print(f"kept in {keep(rows, f'virtual_lab_{given.what}')}")


if __name__ == "__main__":
    main()
