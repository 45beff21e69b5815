"""How much a test of each candidate promises: noisy expected (hypervolume) improvement, over any finite set.

The tested candidates' true values are themselves uncertain, so the improvement is averaged over joint posterior samples of
them (noisy EI, Letham et al. 2019; with several objectives noisy EHVI, Daulton et al. 2021: what qLogNEI and qLogNEHVI
estimate). Given one sample of those values the rest is exact: the region not yet dominated is cut into boxes, and with
independent objectives the expected volume gained in a box [l, u] is (Yang et al. 2019)

    prod_j (psi_j(l_j) - psi_j(u_j)),    psi_j(a) = E[max(Y_j - a, 0)] = sigma_j h((mu_j - a)/sigma_j)

With one objective there is one box, from the sample's best value to infinity: expected improvement. Pending candidates
count as tested: their values are sampled too, which is what keeps a batch apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from orchestrator.domain import OutcomeConstraint
from orchestrator.proposal.beliefs import Beliefs
from orchestrator.proposal.history import History
from orchestrator.proposal.surrogate import Place, Surrogate

Matrix = NDArray[np.float64]

SAMPLES = 64
# A share of the nadir-to-ideal range, as BoTorch's `infer_reference_point`.
STAND_OFF = 0.1
_BEYOND = 1e9
# Numbers handled at once: what fits a processor's cache.
_WORK = 250_000
_PRUNE_ABOVE, _PRUNE_SD = 48, 2.5
_SURELY = 1e-9


@dataclass(frozen=True)
class Goal:
    """An objective turned so that more is better, in the surrogate's scaled outcomes."""

    surrogate: Surrogate
    sign: float
    reference: float

    def mean(self, X: Matrix) -> Matrix:
        """The scaled mean, more is better: shape (n,)."""
        return self.sign * self.surrogate.scaled_mean(X)


def goals_of(history: History, beliefs: Beliefs, baseline: Matrix) -> list[Goal]:
    """The campaign's objectives with their reference points; one that is not fixed stands off the baseline's worst mean."""
    goals = []
    for objective in history.spec.objectives:
        surrogate = beliefs.surrogates[objective.metric]
        fixed = (history.reference_point or {}).get(objective.metric, objective.threshold)
        if fixed is None or len(history.spec.objectives) == 1:
            mean = objective.sign * surrogate.scaled_mean(baseline)
            reference = float(mean.min() - STAND_OFF * max(np.ptp(mean), STAND_OFF))
        else:
            reference = objective.sign * (fixed - surrogate.centre) / surrogate.scale
        goals.append(Goal(surrogate, objective.sign, reference))
    return goals


class Places:
    """What every surrogate of a campaign knows of the same points, each worked out when it is asked for.

    Args:
        X: points of the cube, shape (n, d).
    """

    def __init__(self, X: Matrix, known: dict[int, Place] | None = None) -> None:
        self.X = X
        self._known = known or {}

    def of(self, surrogate: Surrogate) -> Place:
        """One surrogate's."""
        if id(surrogate) not in self._known:
            self._known[id(surrogate)] = surrogate.place(self.X)
        return self._known[id(surrogate)]

    def ask(self, surrogates: Iterable[Surrogate]) -> Places:
        """Itself, with what these surrogates know kept for whoever asks next."""
        for surrogate in surrogates:
            self.of(surrogate)
        return self

    def part(self, start: int, stop: int) -> Places:
        """Of some of the points, with what is already known of them."""
        known = {
            key: Place(p.X[start:stop], p.mean[start:stop], p.variance[start:stop], p.explained[:, start:stop])
            for key, p in self._known.items()
        }
        return Places(self.X[start:stop], known)


class NoisyImprovement:
    """The expected improvement over a baseline whose values are uncertain.

    Args:
        history: objectives, constraints and the reference point.
        beliefs: a surrogate for every metric of the campaign.
        baseline: tested and pending points, shape (n, d).
        seed: of the posterior samples.
        constraints: outcome constraints to weigh by their probability; the campaign's own when None.
    """

    def __init__(
        self,
        history: History,
        beliefs: Beliefs,
        baseline: Matrix,
        seed: int,
        constraints: Sequence[OutcomeConstraint] | None = None,
    ) -> None:
        self.beliefs, self.seed = beliefs, seed
        self.constraints = tuple(history.spec.constraints if constraints is None else constraints)
        baseline = np.unique(baseline, axis=0)
        self.goals = goals_of(history, beliefs, baseline)
        self._sample(self._pruned(baseline))

    def joined_by(self, X: Matrix) -> NoisyImprovement:
        """The same with further pending points of shape (k, d)."""
        further = copy(self)
        further._sample(np.unique(np.vstack([self.baseline, X]), axis=0))  # noqa: SLF001 - a copy of itself
        return further

    def roughly(self, samples: int) -> NoisyImprovement:
        """The same over the first few samples only: for a first look at a long list."""
        rough = copy(self)
        rough._shocks = {key: shocks[:samples] for key, shocks in self._shocks.items()}  # noqa: SLF001 - a copy of itself
        rough._lower, rough._upper = self._lower[:samples], self._upper[:samples]  # noqa: SLF001
        return rough

    def _sample(self, baseline: Matrix) -> None:
        self.baseline = baseline
        self._base = Places(baseline)
        self._factors: dict[int, Matrix] = {}
        self._shocks = self._draw()
        self._lower, self._upper = self._boxes()

    def _pruned(self, baseline: Matrix) -> Matrix:
        """Without points that are surely dominated: they change no sample's front."""
        if len(baseline) <= _PRUNE_ABOVE:
            return baseline
        places = Places(baseline)
        means = np.column_stack([goal.sign * places.of(goal.surrogate).mean for goal in self.goals])
        away = _PRUNE_SD * np.column_stack([np.sqrt(places.of(goal.surrogate).variance) for goal in self.goals])
        floor, ceiling = means - away, means + away
        if self.constraints:
            floor[_probability(self.beliefs, self.constraints, places) < 0.5] = -np.inf
        hopeless = np.array([(floor > top).all(axis=1).any() for top in ceiling])
        return baseline[~hopeless]

    def _draw(self) -> dict[int, Matrix]:
        """Standard normal shocks by surrogate, each of shape (samples, n)."""
        surrogates = self._surrogates()
        n = len(self.baseline)
        engine = qmc.Sobol(n * len(surrogates), scramble=True, rng=np.random.default_rng(self.seed))
        normal = ndtri(np.clip(engine.random(SAMPLES), _SURELY, 1 - _SURELY)).reshape(SAMPLES, len(surrogates), n)
        return {id(s): normal[:, i] for i, s in enumerate(surrogates)}

    def _surrogates(self) -> list[Surrogate]:
        named = [g.surrogate for g in self.goals] + [self.beliefs.surrogates[c.metric] for c in self.constraints]
        return list({id(s): s for s in named}.values())

    def _factor(self, surrogate: Surrogate) -> Matrix:
        """The Cholesky factor of the baseline's posterior covariance, shape (n, n)."""
        key = id(surrogate)
        if key not in self._factors:
            base = self._base.of(surrogate)
            covariance = surrogate.covariance_between(base, base)
            ridge = 1e-7 * surrogate.prior_variance
            self._factors[key] = np.asarray(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))), dtype=np.float64)
        return self._factors[key]

    def _samples(self, surrogate: Surrogate) -> Matrix:
        """Joint samples of the scaled response at the baseline, shape (samples, n)."""
        return self._base.of(surrogate).mean + self._shocks[id(surrogate)] @ self._factor(surrogate).T

    def _boxes(self) -> tuple[Matrix, Matrix]:
        """Lower and upper corners of the undominated boxes of each sample, shape (samples, boxes, m)."""
        values = np.stack([goal.sign * self._samples(goal.surrogate) for goal in self.goals], axis=-1)
        reference = np.array([goal.reference for goal in self.goals])
        values = np.where(self._sampled_feasible()[..., None], values, -_BEYOND)
        if len(self.goals) == 1:
            lower = np.maximum(values.max(axis=1, keepdims=True), reference)
            return lower, np.full_like(lower, _BEYOND)
        cut = _strips if len(self.goals) == 2 else _cells
        boxes = [cut(sample, reference) for sample in values]
        most = max(len(lower) for lower, _ in boxes)
        return _padded([b[0] for b in boxes], most), _padded([b[1] for b in boxes], most)

    def _sampled_feasible(self) -> NDArray[np.bool_]:
        """Which baseline points keep the constraints in each sample, shape (samples, n)."""
        mask = np.ones((SAMPLES, len(self.baseline)), dtype=bool)
        for constraint in self.constraints:
            surrogate = self.beliefs.surrogates[constraint.metric]
            values = surrogate.centre + surrogate.scale * self._samples(surrogate)
            mask &= values >= (-np.inf if constraint.lower is None else constraint.lower)
            mask &= values <= (np.inf if constraint.upper is None else constraint.upper)
        return mask

    def __call__(self, X: Matrix | Places) -> Matrix:
        """The expected improvement at points of shape (n, d), times the probability of keeping the constraints: (n,)."""
        places = X if isinstance(X, Places) else Places(X)
        step, n = max(1, _WORK // (self._lower.size // len(self.goals))), len(places.X)
        gains, chances, distant = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
        for start in range(0, n, step):
            part = places.part(start, start + step)
            gains.append(self._improvement(part))
            chances.append(_probability(self.beliefs, self.constraints, part))
            distant.append(self._distant(part))
        gain = np.concatenate(gains)
        nothing = not len(gain) or gain.max() <= 0.0
        return np.asarray((np.concatenate(distant) if nothing else gain) * np.concatenate(chances))

    def _improvement(self, places: Places) -> Matrix:
        volume: Matrix | float = 1.0
        for j, goal in enumerate(self.goals):
            mean, sd = self._conditional(goal, places.of(goal.surrogate))
            low = sd[:, None, None] * _improvement_of((mean[..., None] - self._lower[None, ..., j]) / sd[:, None, None])
            if len(self.goals) == 2 and j == 0:  # strips side by side: one ends where the next begins
                low[..., :-1] -= low[..., 1:]
                np.maximum(low, 0.0, out=low)
            elif self._upper[..., j].min() < _BEYOND:
                high = sd[:, None, None] * _improvement_of((mean[..., None] - self._upper[None, ..., j]) / sd[:, None, None])
                low = np.maximum(low - high, 0.0)
            volume = volume * low
        return np.asarray(np.asarray(volume).sum(axis=2).mean(axis=1))

    def _conditional(self, goal: Goal, place: Place) -> tuple[Matrix, Matrix]:
        """Means of shape (n, samples) and sds of shape (n,) at a place, given each sample of the baseline."""
        surrogate = goal.surrogate
        cross = surrogate.covariance_between(self._base.of(surrogate), place)
        gain = solve_triangular(self._factor(surrogate), cross, lower=True, check_finite=False)
        mean = place.mean[:, None] + (self._shocks[id(surrogate)] @ gain).T
        variance = place.variance - (gain**2).sum(axis=0)
        return goal.sign * mean, np.sqrt(np.maximum(variance, 1e-10))

    def _distant(self, places: Places) -> Matrix:
        """Where every improvement underflows: how near the belief comes to the reference point, positive."""
        z = np.zeros(len(places.X))
        for goal in self.goals:
            place = places.of(goal.surrogate)
            z += np.minimum((goal.sign * place.mean - goal.reference) / np.sqrt(place.variance), 0.0)
        return 1e-30 / (1.0 - z)

    def feasibility(self, X: Matrix) -> Matrix:
        """The probability that the constraints hold at points of shape (n, d): shape (n,)."""
        return feasibility(self.beliefs, self.constraints, X)


def feasibility(beliefs: Beliefs, constraints: Sequence[OutcomeConstraint], X: Matrix) -> Matrix:
    """The probability that constraints hold at points of shape (n, d), taken as independent: shape (n,)."""
    return _probability(beliefs, constraints, Places(X))


def _probability(beliefs: Beliefs, constraints: Sequence[OutcomeConstraint], places: Places) -> Matrix:
    chance = np.ones(len(places.X))
    for constraint in constraints:
        surrogate = beliefs.surrogates[constraint.metric]
        place = places.of(surrogate)
        mean, sd = surrogate.centre + surrogate.scale * place.mean, surrogate.scale * np.sqrt(place.variance)
        above = 0.0 if constraint.lower is None else ndtr((constraint.lower - mean) / sd)
        below = 1.0 if constraint.upper is None else ndtr((constraint.upper - mean) / sd)
        chance *= np.maximum(below - above, 0.0)
    return chance


def _improvement_of(z: Matrix) -> Matrix:
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.asarray(np.maximum(density + z * ndtr(z), 0.0))


def _strips(values: Matrix, reference: Matrix) -> tuple[Matrix, Matrix]:
    """Two objectives: the undominated region beyond the reference point as vertical strips, corners of shape (k, 2)."""
    better = values[(values > reference).all(axis=1)]
    better = better[np.lexsort((better[:, 1], better[:, 0]))]
    taller = np.concatenate([np.maximum.accumulate(better[::-1, 1])[::-1][1:], [-np.inf]])
    front = better[better[:, 1] > taller[: len(better)]]
    edges = np.concatenate([[reference[0]], front[:, 0], [_BEYOND]])
    floors = np.concatenate([front[:, 1], [reference[1]]])
    lower = np.column_stack([edges[:-1], floors])
    return lower, np.column_stack([edges[1:], np.full(len(floors), _BEYOND)])


def _cells(values: Matrix, reference: Matrix) -> tuple[Matrix, Matrix]:
    """Three or more objectives: the undominated region as boxes, corners of shape (k, m) (Lacour et al. 2017)."""
    import torch
    from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning

    partition = FastNondominatedPartitioning(torch.from_numpy(reference), Y=torch.from_numpy(values))
    lower, upper = partition.get_hypercell_bounds().numpy()
    return lower, np.minimum(upper, _BEYOND)


def _padded(corners: list[Matrix], most: int) -> Matrix:
    """Samples have different numbers of boxes: fill up with empty ones (both corners far beyond)."""
    empty = np.full((1, corners[0].shape[1]), _BEYOND)
    return np.stack([np.vstack([c, np.repeat(empty, most - len(c), axis=0)]) for c in corners])
