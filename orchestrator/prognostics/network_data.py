"""What networks learn from: features and labels with gaps, standardised by the rows that each network may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from orchestrator.domain.errors import Fault, SpecError
from orchestrator.prognostics.network import NUMBERS, Labels, NetworkStack

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Standard(NamedTuple):
    """Centre and scale of columns, each of shape (columns,); a column that does not vary, or has no value, keeps its scale 1."""

    centre: Array
    scale: Array

    @classmethod
    def of(cls, values: Array) -> Standard:
        """From rows that may be seen, shape (rows, columns); NaN do not count."""
        known = ~np.isnan(values)
        count = known.sum(axis=0).clip(1)
        centre = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(known, (values - centre) ** 2, 0.0).sum(axis=0) / count)
        return cls(centre, np.where(spread > 1e-12 * np.abs(centre) + 1e-300, spread, 1.0))

    def into(self, values: Array) -> Array:
        """Values in standard units."""
        made: Array = (values - self.centre) / self.scale
        return made

    def back(self, values: Array) -> Array:
        """Values in their own units."""
        made: Array = values * self.scale + self.centre
        return made


@dataclass(frozen=True)
class Lesson:
    """What one network learns from: the rows it may see, and the properties it is taught.

    Attributes:
        rows: shape (n,).
        outputs: numbers of the properties.
    """

    rows: Mask
    outputs: tuple[int, ...]


class Lessons:
    """Features and labels for a stack of networks, one lesson each.

    Args:
        X: features, shape (n, d), finite.
        Y: properties, shape (n, t); NaN where nothing was measured.
        lessons: one for each network.
        weights: of the properties' losses, shape (t,).
        inputs: standard of the features where it is given from elsewhere (a pretrained network's); None: from each lesson's rows.

    Attributes:
        inputs, outputs: the standards of each network.
        features: shape (networks, n, d), standardised.
        labels: standardised; the labels of one property weigh its weight together, however many they are.
    """

    def __init__(
        self, X: Array, Y: Array, lessons: Sequence[Lesson], weights: Array, inputs: Sequence[Standard] | None = None
    ) -> None:
        self.inputs = list(inputs) if inputs is not None else [Standard.of(X[lesson.rows]) for lesson in lessons]
        self.outputs = [Standard.of(Y[lesson.rows]) for lesson in lessons]
        self.features = self.standardised(X)
        self.labels = self._labels(Y, lessons, weights)

    def standardised(self, X: Array) -> torch.Tensor:
        """Features as each network sees them: shape (networks, n, d)."""
        made: dict[int, Array] = {}
        for standard in self.inputs:
            if id(standard) not in made:
                made[id(standard)] = standard.into(X)
        return torch.from_numpy(np.stack([made[id(standard)] for standard in self.inputs])).to(NUMBERS)

    def _labels(self, Y: Array, lessons: Sequence[Lesson], weights: Array) -> Labels:
        parts: list[tuple[NDArray[Any], ...]] = []
        for number, (lesson, standard) in enumerate(zip(lessons, self.outputs, strict=True)):
            taught = np.zeros(Y.shape[1], dtype=np.bool_)
            taught[list(lesson.outputs)] = True
            known = ~np.isnan(Y) & lesson.rows[:, None] & taught
            rows, outputs = np.nonzero(known)
            share = weights / known.sum(axis=0).clip(1)
            values = standard.into(Y)[rows, outputs]
            parts.append((np.full(len(rows), number), rows, outputs, values, share[outputs]))
        network, row, output, value, weight = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
        return Labels(network, row, output, value.to(NUMBERS), weight.to(NUMBERS))

    def predictions(self, networks: NetworkStack, X: Array) -> Array:
        """What each network says of rows of shape (n, d), in the properties' units: shape (networks, n, t)."""
        with torch.no_grad():
            said = networks.output(self.standardised(X)).to(torch.float64).numpy()
        return np.stack([standard.back(each) for standard, each in zip(self.outputs, said, strict=True)])


def checked_features(X: ArrayLike, width: int | None = None) -> Array:
    """Features as finite numbers of shape (n, d).

    Raises:
        SpecError: another shape, no rows, NaN or infinite values, or not `width` columns.
    """
    features = np.asarray(X, dtype=np.float64)
    if features.ndim != 2 or not len(features) or not features.shape[1]:
        raise SpecError(Fault("X", f"must be features of shape (rows, columns) (got shape {features.shape})."))
    if width is not None and features.shape[1] != width:
        raise SpecError(Fault("X", f"has {features.shape[1]} columns; the model learned from {width}."))
    if not np.isfinite(features).all():
        bad = np.flatnonzero(~np.isfinite(features).all(axis=0)).tolist()
        raise SpecError(Fault("X", f"has NaN or infinite values in columns {bad}.", "Leave such rows out, or fill them."))
    return features


def checked_properties(Y: ArrayLike, rows: int, tasks: Sequence[str]) -> Array:
    """Measured properties of shape (rows, tasks), NaN where missing.

    Raises:
        SpecError: another shape, infinite values, or a property with fewer than two labels.
    """
    values = np.asarray(Y, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.shape != (rows, len(tasks)):
        wanted = (
            f"must have a row for each of {rows} cells and a column for each of {len(tasks)} tasks (got shape {values.shape})."
        )
        raise SpecError(Fault("Y", wanted))
    if np.isinf(values).any():
        raise SpecError(Fault("Y", "has infinite values.", "Write NaN where nothing was measured."))
    few = [task for task, count in zip(tasks, (~np.isnan(values)).sum(axis=0), strict=True) if count < 2]
    if few:
        raise SpecError(
            Fault("Y", f"has fewer than two labels for {', '.join(few)}.", "Leave the task out, or measure more cells.")
        )
    return values
