"""Small feed-forward networks, many trained side by side: members of an ensemble, folds of a cross-validation, rivals.

    a_0 = x,   a_l = tanh(a_{l-1} W_l + b_l),   output = a_L W_{L+1} + b_{L+1}          one column of output per property
    loss = sum over labels of weight (output - label)^2  +  sum over layers of pull_l (|W_l - A_l|^2 + |b_l - c_l|^2)

Each network has weights, labels, features and pulls of its own, so a stack of them is one batched product per layer: a
cross-validation costs a little more than a fit. The anchors A_l are zero (weight decay) or the weights of a pretrained network
(L2-SP: Li, Grandvalet and Davoine, ICML 2018); a layer that is held keeps its weights exactly. Missing labels are not in the
list of labels: no product with a mask, through which a NaN would pass. Training is Adam on all labels at once with a rate that
falls to zero along half a cosine; a network's course does not depend on which others stand beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Single precision: half the time, and a network's error is far above its rounding.
NUMBERS = torch.float32
# The strength of a pull from which on a layer does not move at all.
HELD = 1e6
# Activations of one layer that are worked on at once, in numbers: what fits a core's cache.
_WORKED_AT_ONCE = 400_000


@dataclass(frozen=True)
class NetworkStack:
    """Networks of one shape.

    Attributes:
        weights: of each layer, the head last, shape (networks, inputs, outputs).
        biases: likewise, shape (networks, 1, outputs).
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.weights[0])

    @property
    def layers(self) -> int:
        """Layers of weights, the head among them."""
        return len(self.weights)

    def activations(self, X: Tensor) -> list[Tensor]:
        """What each layer makes of inputs of shape (networks, n, d); the last is the output, (networks, n, properties)."""
        made: list[Tensor] = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            X = torch.tanh(torch.baddbmm(bias, X, weight))
            made.append(X)
        return [*made, torch.baddbmm(self.biases[-1], X, self.weights[-1])]

    def output(self, X: Tensor) -> Tensor:
        """Outputs for inputs of shape (networks, n, d): shape (networks, n, properties)."""
        return self.activations(X)[-1]

    def take(self, networks: Tensor) -> NetworkStack:
        """Some of the networks, in the order asked for; one may be asked for several times."""
        return NetworkStack(tuple(w[networks] for w in self.weights), tuple(b[networks] for b in self.biases))

    def and_also(self, others: NetworkStack) -> NetworkStack:
        """These networks, then the others, of the same shape."""
        return NetworkStack(
            tuple(map(torch.cat, zip(self.weights, others.weights, strict=True))),
            tuple(map(torch.cat, zip(self.biases, others.biases, strict=True))),
        )

    def zeros(self) -> NetworkStack:
        """The same shape, nothing in it: what weight decay pulls to."""
        return NetworkStack(tuple(map(torch.zeros_like, self.weights)), tuple(map(torch.zeros_like, self.biases)))


class Labels(NamedTuple):
    """What was measured, as a list: label i belongs to the output (network[i], row[i], property[i]). All of shape (labels,)."""

    network: Tensor
    row: Tensor
    output: Tensor
    value: Tensor
    weight: Tensor

    def of(self, networks: NDArray[np.int64]) -> Labels:
        """The labels of some networks, each once, which are then numbered in the order asked for."""
        place = torch.full((int(self.network.max()) + 1,), -1)
        place[torch.from_numpy(networks)] = torch.arange(len(networks))
        chosen = place[self.network] >= 0
        return Labels(place[self.network[chosen]], *(each[chosen] for each in self[1:]))


class Pull(NamedTuple):
    """Where weights are drawn to, and how strongly.

    Attributes:
        anchor: as many networks as are trained.
        weights, biases: strength for each network and layer, shape (networks, layers); from `HELD` on the layer stays as it is.
    """

    anchor: NetworkStack
    weights: Tensor
    biases: Tensor

    def of(self, networks: Tensor) -> Pull:
        """The pull of some networks."""
        return Pull(self.anchor.take(networks), self.weights[networks], self.biases[networks])


def initial_networks(seeds: list[int], inputs: int, hidden: tuple[int, ...], outputs: int) -> NetworkStack:
    """Untrained networks, each drawn from its seed alone: Glorot's normal draw for hidden layers, a head of zeros.

    A head of zeros predicts the mean of every property, and makes networks of one seed alike however many heads they have.
    """
    sizes = (inputs, *hidden)
    drawn = [_drawn(np.random.default_rng(seed), sizes) for seed in seeds]
    weights = [torch.from_numpy(np.stack(layer)).to(NUMBERS) for layer in zip(*drawn, strict=True)]
    heads = torch.zeros(len(seeds), sizes[-1], outputs, dtype=NUMBERS)
    biases = [torch.zeros(len(seeds), 1, size, dtype=NUMBERS) for size in (*hidden, outputs)]
    return NetworkStack((*weights, heads), tuple(biases))


def _drawn(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Array]:
    return [rng.normal(size=(a, b)) * math.sqrt(2 / (a + b)) for a, b in pairwise(sizes)]


def decay_of(start: NetworkStack, decay: Tensor) -> Pull:
    """Weight decay, a strength for each network, shape (networks,): every layer's weights are drawn to zero, biases are free."""
    strength = decay[:, None].expand(-1, start.layers)
    return Pull(start.zeros(), strength, torch.zeros_like(strength))


def trained(start: NetworkStack, X: Tensor, labels: Labels, pull: Pull, steps: int = 300, rate: float = 0.02) -> NetworkStack:
    """Train every network of a stack.

    Args:
        start: where training begins; left as it is.
        X: inputs of each network, shape (networks, n, d), standardised.
        labels: what its outputs should be, standardised.
        pull: where its weights are drawn to.
        steps: gradient steps.
        rate: Adam's step length at the start.

    Returns:
        The trained networks, detached.
    """
    widest = max(w.shape[-1] for w in start.weights)
    together = max(1, _WORKED_AT_ONCE // (X.shape[1] * widest))
    parts = [torch.arange(a, min(a + together, len(start))) for a in range(0, len(start), together)]
    done = [_trained_at_once(start.take(p), X[p], labels.of(p.numpy()), pull.of(p), steps, rate) for p in parts]
    return NetworkStack(*(tuple(map(torch.cat, zip(*each, strict=True))) for each in zip(*done, strict=True)))


def _trained_at_once(
    start: NetworkStack, X: Tensor, labels: Labels, pull: Pull, steps: int, rate: float
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    parameters = [p.detach().clone().requires_grad_() for p in (*start.weights, *start.biases)]
    stack = NetworkStack(tuple(parameters[: start.layers]), tuple(parameters[start.layers :]))
    anchors = (*pull.anchor.weights, *pull.anchor.biases)
    strengths = [s[:, None, None] for s in (*pull.weights.unbind(1), *pull.biases.unbind(1))]
    held = [s >= HELD for s in strengths]
    finite = [torch.where(h, torch.zeros_like(s), s) for s, h in zip(strengths, held, strict=True)]
    adam = torch.optim.Adam(parameters, lr=rate, fused=True)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.zero_grad()
        error = stack.output(X)[labels.network, labels.row, labels.output] - labels.value
        (labels.weight * error**2).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p, a, s, h in zip(parameters, anchors, finite, held, strict=True):
                assert p.grad is not None  # noqa: S101 - every layer leads to the output
                p.grad = torch.where(h, torch.zeros_like(p), p.grad + 2 * s * (p - a))
        adam.step()
    done = [p.detach() for p in parameters]
    return tuple(done[: start.layers]), tuple(done[start.layers :])
