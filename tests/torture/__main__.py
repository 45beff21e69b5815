"""`python -m tests.torture --seeds 1000`: the torture on the command line. `--seed 123 --trace` replays one."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic

from tests.torture.simulation import Result, simulate

COUNTED = (
    "ticks", "crashes", "stalls", "starts", "adoptions", "withdrawals", "amendments", "queued trials forbidden", "settled",
    "late submissions refused", "points",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run seeds, say what happened; 1 if a promise was broken."""
    given = _parser().parse_args(arguments)
    if given.seed is not None:
        return _replay(given.seed, traced=given.trace)
    began, counts, broken, cpu_s = monotonic(), Counter[str](), 0, 0.0
    for result in _results(range(given.first, given.first + given.seeds), given.jobs):
        counts += result.counts
        cpu_s += result.seconds
        if result.violation:
            broken += 1
            _say(
                f"seed {result.seed}: {result.violation}\n  replay it with: python -m tests.torture --seed {result.seed} --trace"
            )
    said = ", ".join(f"{counts[name]} {name}" for name in COUNTED)
    took = f"{monotonic() - began:.0f} s, {cpu_s / max(1, given.seeds):.2f} s of a core for each seed"
    _say(f"{given.seeds} seeds, {broken} violations: {said}; {took}")
    return int(broken > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happened")
    return parser


def _replay(seed: int, *, traced: bool) -> int:
    result = simulate(seed, traced=traced)
    for line in result.trace:
        _say(line)
    _say(f"seed {seed}: {result.violation or 'every promise kept'}; {dict(sorted(result.counts.items()))}")
    return int(result.violation is not None)


def _results(seeds: range, jobs: int) -> Iterator[Result]:
    if jobs <= 1:
        yield from map(simulate, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(simulate, seeds, chunksize=5)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
