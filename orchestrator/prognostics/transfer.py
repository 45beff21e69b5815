"""From a protocol or a chemistry with many cells to one with few: how far each layer may leave what it was pretrained to.

    loss = mean squared standardised error + sum over layers of strength_l (|W_l - W_l^source|^2 + |b_l - b_l^source|^2)

Four ways stand beside one another: `uniform` (one strength for all layers, L2-SP: Li, Grandvalet and Davoine, ICML 2018), `cka`
(a strength for each layer), `fine_tuning` (no pull), and `from_scratch` (the source is not used). For `cka` the source is adapted
briefly to the target's training rows; r_l is the debiased centred kernel alignment between what layer l makes of these rows
before and after (the same inputs through both networks, so rows are paired), and

    strength_l = strength * r_l / (1 - r_l),    held as it is for r_l >= 0.99, free for r_l <= 0

Layers that the target leaves alone are kept, layers that it changes at once are let go. Which way serves, and how strong the pull
is, is decided on target cells that were left out of the adaptation, the lowest squared error winning. No way is trusted by its
name: weighting by alignment has to win against uniform L2-SP, and the source against none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.learning.folds import cell_numbers, grouped_folds
from orchestrator.learning.seeding import derive_seed, reproducible
from orchestrator.prognostics.alignment import centered_kernel_alignment
from orchestrator.prognostics.network import HELD, NUMBERS, NetworkStack, Pull, decay_of, initial_networks, trained
from orchestrator.prognostics.network_data import Lesson, Lessons, Standard, checked_features, checked_properties
from orchestrator.prognostics.network_regressor import Pretrained, pretrained
from orchestrator.prognostics.network_selection import Spread, between_members, cell_losses, gain_over

Array = NDArray[np.float64]

# What cross-validation chooses from: strengths of the pull, and weight decays of networks that start from scratch.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
DECAYS = (1e-3, 6e-3, 4e-2)
# The brief adaptation by which layers are compared; the full one; training from scratch: steps, and their length at the start.
BRIEF, FULL, SCRATCH = (40, 0.01), (150, 0.01), (250, 0.02)
_COMPARED_MEMBERS = 2
_LEAST_CELLS = 5


class Way(NamedTuple):
    """A way of learning the target: `cka`, `uniform`, `fine_tuning` or `from_scratch`, and its strength (or weight decay)."""

    name: str
    strength: float


class _Seat(NamedTuple):
    """One network to be trained: how, from which rows, and which member of the ensemble it is."""

    way: Way
    rows: NDArray[np.bool_]
    member: int


class _Adapted(NamedTuple):
    """Trained networks, one for each seat, with the standards they were trained in."""

    networks: NetworkStack
    lessons: Lessons
    similarity: Array


class TransferRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network for a target with few cells, from one that was fitted to a source with many.

    Args:
        source: a fitted `NetworkRegressor` or `MultiTaskRegressor` with the same features; it is left as it is.
        similarity: `"cka"` (pull by layer, uniform pull and fine-tuning compete) or `"uniform"` (the latter two).
        task: which property of a `MultiTaskRegressor` with several.
        folds: of the cross-validation over target cells; with as many as cells, one is left out at a time.
        random_state: seed of the folds and of networks from scratch.

    Attributes:
        layer_similarity_: r of each layer, the head last, averaged over members, shape (layers,).
        layer_strength_: the pull of each layer that `similarity` asks for, at the strength that cross-validation found best for
            it, shape (layers,); `1e6`: held as it is.
        chosen_: which way serves.
        comparison_: one dict per way: its best strength, the root-mean-squared error on target cells not learned from, the gain
            against starting from scratch in standardised squared error with its standard error, and whether it serves.

    Example:
        >>> source = NetworkRegressor().fit(X_many, y_many)  # doctest: +SKIP
        >>> model = TransferRegressor(source).fit(X_few, y_few, groups=cells)  # doctest: +SKIP
        >>> mean, std = model.predict(X_new, return_std=True)  # doctest: +SKIP
    """

    def __init__(
        self, source: Any, similarity: str = "cka", *, task: str | None = None, folds: int = 10, random_state: int = 0
    ) -> None:
        self.source = source
        self.similarity = similarity
        self.task = task
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Adapt to the target's cells.

        Args:
            X: features as the source's, shape (n, d), finite.
            y: targets, shape (n,).
            groups: the cell of each row, shape (n,); None: each row is a cell of its own.

        Raises:
            SpecError: no fitted source, other features than its own, an unknown similarity, NaN, or fewer than 5 cells.
        """
        if self.similarity not in ("cka", "uniform"):
            raise SpecError(Fault("similarity", f"must be 'cka' or 'uniform' (got {self.similarity!r})."))
        known = pretrained(self.source, self.task)
        features = checked_features(X, len(known.inputs.centre))
        targets = checked_properties(y, len(features), ["y"])
        cells = cell_numbers(groups, len(features))
        if np.isnan(targets).any():
            raise SpecError(Fault("y", "has NaN.", "Leave out rows that were not measured."))
        if cells.max() + 1 < _LEAST_CELLS:
            raise SpecError(
                Fault("groups", f"must hold at least {_LEAST_CELLS} cells to adapt to and choose by (got {cells.max() + 1}).")
            )
        with reproducible(derive_seed("transfer", self.random_state)):
            told = self._out_of_fold(known, features, targets, cells)
            self._choose(targets[:, 0], cells, told)
            everything = np.ones(len(features), dtype=np.bool_)
            members = range(len(known.networks))
            seats = {name: [_Seat(each, everything, m) for m in members] for name, each in self._best_ways.items()}
            self._rivals = {name: self._adapted(known, features, targets, each) for name, each in seats.items()}
            looked_at = self._adapted(known, features, targets, seats[self.similarity], brief_only=True)
        self.layer_similarity_ = looked_at.similarity.mean(axis=0)
        self.layer_strength_ = _strengths(self._best_ways[self.similarity], self.layer_similarity_)
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Targets of new rows.

        Args:
            X: features, shape (m, d).
            return_std: also give the predictive standard deviation of a new cell, calibrated on target cells not learned from.

        Returns:
            Shape (m,), or two of them.
        """
        check_is_fitted(self, "chosen_")
        said = self._said(self.chosen_, checked_features(X, self.n_features_in_))
        mean = said.mean(axis=0)
        return (mean, self._spread.std(between_members(said))) if return_std else mean

    def predict_ways(self, X: ArrayLike) -> dict[str, Array]:
        """What each way says of new rows, shape (m,) each: to look at beside `comparison_`; `chosen_` is the one that serves."""
        check_is_fitted(self, "chosen_")
        features = checked_features(X, self.n_features_in_)
        return {way: self._said(way, features).mean(axis=0) for way in self._rivals}

    def _said(self, way: str, X: Array) -> Array:
        rival = self._rivals[way]
        return rival.lessons.predictions(rival.networks, X)[:, :, 0]

    def _ways(self) -> list[Way]:
        pulled = ("cka", "uniform") if self.similarity == "cka" else ("uniform",)
        ways = [Way(name, strength) for name in pulled for strength in STRENGTHS]
        return [*ways, Way("fine_tuning", 0.0), *(Way("from_scratch", decay) for decay in DECAYS)]

    def _out_of_fold(self, known: Pretrained, X: Array, Y: Array, cells: NDArray[np.int64]) -> dict[Way, Array]:
        """What each way says of rows whose cells it did not see, shape (members, n)."""
        folds = grouped_folds(cells, len(X), self.folds, seed=self.random_state, y=Y[:, 0])
        members = range(min(_COMPARED_MEMBERS, len(known.networks)))
        told = {way: np.full((len(members), len(X)), np.nan) for way in self._ways()}
        seen = [np.isin(np.arange(len(X)), fold.train) for fold in folds]
        plan = [(_Seat(way, seen[f], m), f) for way in told for f in range(len(folds)) for m in members]
        done = self._adapted(known, X, Y, [seat for seat, _ in plan])
        for said, (seat, fold) in zip(done.lessons.predictions(done.networks, X)[:, :, 0], plan, strict=True):
            told[seat.way][seat.member, folds[fold].test] = said[folds[fold].test]
        return told

    def _choose(self, y: Array, cells: NDArray[np.int64], told: dict[Way, Array]) -> None:
        unit = float(y.std()) or 1.0
        losses = {way: cell_losses((said.mean(axis=0) - y) / unit, cells) for way, said in told.items()}
        best: dict[str, Way] = {}
        for way, loss in losses.items():
            if way.name not in best or loss.mean() < losses[best[way.name]].mean():
                best[way.name] = way
        scratch = best["from_scratch"]
        serving = min(best.values(), key=lambda way: float(losses[way].mean()))
        self._best_ways, self.chosen_ = best, serving.name
        self.comparison_ = [_row(way, losses[way], losses[scratch], unit, way == serving) for way in best.values()]
        said = told[serving]
        self._spread = Spread.calibrated(y, said.mean(axis=0), between_members(said), cells)

    def _adapted(self, known: Pretrained, X: Array, Y: Array, seats: Sequence[_Seat], brief_only: bool = False) -> _Adapted:
        """Networks trained as their seats say, those from the source and those from scratch apart, back in the seats' order."""
        fresh = [i for i, seat in enumerate(seats) if seat.way.name == "from_scratch"]
        lent = [i for i, seat in enumerate(seats) if seat.way.name != "from_scratch"]
        own: list[Standard | None] = [None] * len(seats)
        for i in lent:
            own[i] = known.inputs
        standards = [standard or Standard.of(X[seat.rows]) for standard, seat in zip(own, seats, strict=True)]
        lessons = Lessons(X, Y, [Lesson(seat.rows, (0,)) for seat in seats], np.ones(1), standards)
        similarity = np.full((len(seats), known.networks.layers), np.nan)
        parts: list[NetworkStack] = []
        if lent:
            anchors = _anchors(known, X, Y, [seats[i] for i in lent], [lessons.outputs[i] for i in lent])
            networks, similarity[lent] = self._from_source(anchors, lessons, np.array(lent), [seats[i] for i in lent], brief_only)
            parts.append(networks)
        if fresh:
            parts.append(self._from_scratch(known, lessons, np.array(fresh), [seats[i] for i in fresh]))
        together = parts[0] if len(parts) == 1 else parts[0].and_also(parts[1])
        return _Adapted(together.take(torch.from_numpy(np.argsort([*lent, *fresh]))), lessons, similarity)

    def _from_source(
        self, anchors: NetworkStack, lessons: Lessons, numbers: NDArray[np.int64], seats: Sequence[_Seat], brief_only: bool
    ) -> tuple[NetworkStack, Array]:
        features, labels = lessons.features[torch.from_numpy(numbers)], lessons.labels.of(numbers)
        layers = anchors.layers
        compared = [i for i, seat in enumerate(seats) if seat.way.name == "cka" or brief_only]
        similarity = np.full((len(seats), layers), np.nan)
        if compared:
            # Seats that differ in strength alone share their brief adaptation.
            kinds = {(seats[i].rows.tobytes(), seats[i].member): i for i in compared}
            first = np.array(list(kinds.values()))
            start, shown = anchors.take(torch.from_numpy(first)), features[torch.from_numpy(first)]
            brief = trained(start, shown, labels.of(first), _pull(start, np.zeros((len(first), layers))), *BRIEF)
            found = dict(zip(kinds, _similarities(start, brief, shown, [seats[i].rows for i in first]), strict=True))
            for i in compared:
                similarity[i] = found[seats[i].rows.tobytes(), seats[i].member]
        if brief_only:
            return anchors, similarity
        pull = np.stack([_strengths(seat.way, each) for seat, each in zip(seats, similarity, strict=True)])
        return trained(anchors, features, labels, _pull(anchors, pull), *FULL), similarity

    def _from_scratch(
        self, known: Pretrained, lessons: Lessons, numbers: NDArray[np.int64], seats: Sequence[_Seat]
    ) -> NetworkStack:
        hidden = tuple(weight.shape[-1] for weight in known.networks.weights[:-1])
        seeds = [derive_seed("member", self.random_state, seat.member) for seat in seats]
        start = initial_networks(seeds, len(known.inputs.centre), hidden, 1)
        decay = decay_of(start, torch.tensor([seat.way.strength for seat in seats], dtype=NUMBERS))
        return trained(start, lessons.features[torch.from_numpy(numbers)], lessons.labels.of(numbers), decay, *SCRATCH)


def _row(way: Way, loss: Array, scratch: Array, unit: float, serves: bool) -> dict[str, Any]:
    gain = gain_over(scratch, loss)
    error = unit * float(np.sqrt(loss.mean()))
    return {"way": way.name, "strength": way.strength, "rmse": error, "gain": gain.mean, "gain_sem": gain.sem, "serves": serves}


def _strengths(way: Way, similarity: Array) -> Array:
    """The pull on each layer, shape (layers,)."""
    if way.name != "cka":
        return np.full(len(similarity), way.strength)
    share = np.clip(similarity, 0.0, 1.0)
    return np.where(share >= 0.99, HELD, way.strength * share / (1 - share).clip(1e-2))


def _pull(anchor: NetworkStack, strength: Array) -> Pull:
    """Weights and biases alike, save the head's bias: the target's level is its own."""
    weights = torch.from_numpy(strength).to(NUMBERS)
    biases = weights.clone()
    biases[:, -1] = 0.0
    return Pull(anchor, weights, biases)


def _similarities(before: NetworkStack, after: NetworkStack, X: torch.Tensor, rows: Sequence[NDArray[np.bool_]]) -> list[Array]:
    """Alignment of each layer before and after, over the rows that each network saw, shape (layers,) for each network.

    Too few rows to tell count as not alike.
    """
    with torch.no_grad():
        pairs = [(a.numpy(), b.numpy()) for a, b in zip(before.activations(X), after.activations(X), strict=True)]
    return [
        np.array([centered_kernel_alignment(a[i, seen], b[i, seen]) if seen.sum() >= 4 else 0.0 for a, b in pairs])
        for i, seen in enumerate(rows)
    ]


def _anchors(known: Pretrained, X: Array, Y: Array, seats: Sequence[_Seat], standards: Sequence[Standard]) -> NetworkStack:
    """The source's networks as each seat starts from them, their heads in the seat's own standard units."""
    with torch.no_grad():
        shown = torch.from_numpy(known.inputs.into(X)).to(NUMBERS).expand(len(known.networks), -1, -1)
        said = known.output.back(known.networks.output(shown).to(torch.float64).numpy()).mean(axis=0)[:, 0]
    start = known.networks.take(torch.tensor([seat.member for seat in seats]))
    heads, levels = start.weights[-1].clone(), start.biases[-1].clone()
    for i, (seat, standard) in enumerate(zip(seats, standards, strict=True)):
        slope, level = _in_targets_unit(said[seat.rows], Y[seat.rows, 0])
        factor = slope * float(known.output.scale[0] / standard.scale[0])
        offset = float((level + slope * known.output.centre[0] - standard.centre[0]) / standard.scale[0])
        heads[i] *= factor
        levels[i] = levels[i] * factor + offset
    return NetworkStack((*start.weights[:-1], heads), (*start.biases[:-1], levels))


def _in_targets_unit(said: Array, y: Array) -> tuple[float, float]:
    """Slope and level of y over what the source says: slope 1 unless the target contradicts it by two standard errors."""
    deviation = said - said.mean()
    strength = float(deviation @ deviation)
    slope = 1.0
    if strength > 0 and len(y) > 2:
        fitted = float(deviation @ y) / strength
        rest = y - y.mean() - fitted * deviation
        error = float(np.sqrt(rest @ rest / (len(y) - 2) / strength))
        slope = fitted if abs(fitted - 1) > 2 * error else 1.0
    return slope, float(y.mean() - slope * said.mean())
