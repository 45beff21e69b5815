"""How well safe limits were foreseen: what was believed of every test at its proposal, beside what was measured.

A test's standardised error points at the limit: with mean m and sd s (of the next cell) believed, and y +/- sem measured,

    z = sign * (y - m) / sqrt(s^2 + sem^2)        sign = 1 for an upper limit, -1 for a lower one

so that a large z is a test that came out nearer to the limit, or further past it, than was believed. Were the belief right, z
would be standard normal: the share beyond k sds is P(Z > k) (15.9, 2.28 and 0.13 % for 1, 2 and 3). Shares of few tests say
little; each has its exact 95 % interval (Clopper and Pearson 1934). The bound itself stands beta * s from m, so the beta that
would have covered every measured value is the largest sign * (y - m) / s. Safe seeds had no belief and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv, ndtr

from orchestrator.decision.pareto import is_measured
from orchestrator.decision.wording import label
from orchestrator.domain import Trial

SDS = (1.0, 2.0, 3.0)
# With fewer tests no verdict is given.
LEAST_TESTS = 10
_OUTSIDE = 0.05


@dataclass(frozen=True)
class ForeseenTest:
    """One test of a safe metric: believed, and measured.

    Attributes:
        trial: its number.
        mean, sd: believed at proposal, in the metric's unit; sd holds the spread between cells.
        beta: how many sds the bound stood from the mean.
        measured, sem: what came out.
        error: the standardised error, positive towards the limit.
        stood_off: how many believed sds alone the measured value stood from the mean, positive towards the limit.
        chance_to_pass: the believed probability of a measured value past the limit.
        passed: whether the measured value is past it.
    """

    trial: int
    mean: float
    sd: float
    beta: float
    measured: float
    sem: float
    error: float
    stood_off: float
    chance_to_pass: float
    passed: bool


@dataclass(frozen=True)
class Beyond:
    """Tests that came out more than some sds nearer to the limit than believed.

    Attributes:
        sds: how many.
        count: tests beyond.
        expected: their expected number, were the belief right.
        low, high: 95 % interval of their share (Clopper-Pearson).
    """

    sds: float
    count: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class LimitCalibration:
    """One bound of one safe constraint, and how well its tests were foreseen.

    Attributes:
        metric: the metric.
        limit: its bound, in the metric's unit.
        upper: whether the bound is an upper one.
        tests: in order of their numbers; at least one.
    """

    metric: str
    limit: float
    upper: bool
    tests: tuple[ForeseenTest, ...]

    @property
    def error_sd(self) -> float:
        """The root mean square of the standardised errors: 1 where the belief was right, more where it was too sure."""
        return float(np.sqrt(np.mean([t.error**2 for t in self.tests])))

    @property
    def largest(self) -> ForeseenTest:
        """The test with the largest standardised error towards the limit."""
        return max(self.tests, key=lambda t: t.error)

    @property
    def covering_beta(self) -> float:
        """The smallest beta, at least 0, whose bounds hold every measured value, its measuring error included."""
        return max(0.0, *(t.stood_off for t in self.tests))

    @property
    def passed(self) -> int:
        """How many measured values are past the limit."""
        return sum(t.passed for t in self.tests)

    @property
    def passed_expected(self) -> float:
        """How many were expected to be, by what was believed of each."""
        return sum(t.chance_to_pass for t in self.tests)

    @property
    def lowest_beta(self) -> float:
        """The smallest beta that a proposal was made with."""
        return min(t.beta for t in self.tests)

    def beyond(self, sds: float) -> Beyond:
        """How many tests came out more than so many sds nearer to the limit than believed."""
        count, n = sum(t.error > sds for t in self.tests), len(self.tests)
        low, high = clopper_pearson(count, n)
        return Beyond(sds, count, n * float(ndtr(-sds)), low, high)

    @property
    def conservative(self) -> bool | None:
        """Whether the errors agree with what was believed; None with too few tests to say."""
        if len(self.tests) < LEAST_TESTS:
            return None
        return all(self.beyond(k).low <= float(ndtr(-k)) for k in SDS)

    def describe(self) -> str:
        """The finding in words."""
        two, n, side = self.beyond(2.0), len(self.tests), "above" if self.upper else "below"
        found = (
            f"{label(self.metric)} {'<=' if self.upper else '>='} {self.limit:g}: {two.count} of {n} test{'' if n == 1 else 's'} "
            f"came out more than 2 sd {side} what was believed ({two.expected:.1f} expected); a beta of "
            f"{self.covering_beta:.1f} would have covered every measured value (which holds its own error), "
            f"{self.lowest_beta:.1f} or more was used. "
            f"{self.passed} measured past the limit ({self.passed_expected:.1f} expected)."
        )
        return f"{found} {_VERDICTS[self.conservative]}"


_VERDICTS = {
    None: f"Fewer than {LEAST_TESTS} tests: too few to judge beta by.",
    True: "The errors are no larger than believed: beta was conservative here.",
    False: "The errors are larger than believed: beta was not conservative here. Treat bounds near the limit with care.",
}


def limit_calibration(decisions: Iterable[Mapping[str, Any]], trials: Sequence[Trial]) -> list[LimitCalibration]:
    """Compare what was believed of safe metrics at proposal with what was measured.

    Args:
        decisions: dossiers of proposals (`Proposal.decision`), each with its `trial` number, as the store gives them.
        trials: the campaign's trials.

    Returns:
        One for each bound that some test with a belief has been measured against; empty where there is none.
    """
    by_number = {t.number: t for t in trials}
    found: dict[tuple[str, float, bool], list[ForeseenTest]] = {}
    for decision in sorted(decisions, key=lambda d: int(d["trial"])):
        trial = by_number.get(int(decision["trial"]))
        if trial is None:
            continue
        for belief in decision.get("safety", ()):
            estimate = trial.outcome.get(belief["metric"])
            if estimate is not None and is_measured(estimate):
                upper = "upper" in belief
                limit = float(belief["upper" if upper else "lower"])
                test = _test(trial.number, belief, limit, upper, estimate.mean, estimate.sem)
                found.setdefault((belief["metric"], limit, upper), []).append(test)
    return [LimitCalibration(*bound, tuple(tests)) for bound, tests in found.items()]


def _test(trial: int, belief: Mapping[str, Any], limit: float, upper: bool, measured: float, sem: float) -> ForeseenTest:
    mean, sd, sign = float(belief["mean"]), float(belief["sd"]), 1.0 if upper else -1.0
    error_sd = max(float(np.hypot(sd, sem)), 1e-300)
    chance = float(ndtr(sign * (mean - limit) / error_sd))
    off = sign * (measured - mean)
    error, stood_off, passed = off / error_sd, off / max(sd, 1e-300), sign * (measured - limit) > 0
    return ForeseenTest(trial, mean, sd, float(belief["beta"]), measured, sem, error, stood_off, chance, passed)


def clopper_pearson(count: int, of: int) -> tuple[float, float]:
    """The exact 95 % interval of a share of which `count` in `of` were seen (Clopper and Pearson 1934)."""
    tail = _OUTSIDE / 2
    low = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, tail))
    high = 1.0 if count == of else float(betaincinv(count + 1, of - count, 1 - tail))
    return low, high
