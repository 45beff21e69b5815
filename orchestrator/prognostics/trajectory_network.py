"""The recurrent encoder-decoder behind capacity trajectories, several of them trained side by side.

    h = GRU over the given cycles (packed: no padding is read)
    log life = prior + A tanh(B [h, x])                                          the prior: ridge regression, trajectory_life
    s_0 = tanh(C [h, x]),   s_k = GRU([z_{k-1}, d_{k-1}, u_k, log life], s_{k-1})
    d_k = softplus(w s_k + softplus^-1(mean step k of the training cells)) >= 0,   z_k = z_{k-1} - d_k,   z_0 = 1

Encoder-decoder: Cho et al., EMNLP 2014, 1724; whole trajectories by such networks: Li et al., J. Power Sources 506
(2021) 230024. In training the decoder is given the true z_{k-1} with a probability that falls to zero (scheduled sampling,
Bengio et al., NeurIPS 28 (2015)): taught by the truth alone it diverges when it must go on by itself (one-step error 0.0018,
free-running 0.58). Steps cannot be negative, so no capacity rises. Errors are counted by a list of the values that were measured,
never by a product with a mask: what stands in the padding, NaN or 1e9, reaches no gradient. Members of an ensemble and folds of
a cross-validation are one batched product per step and learn nothing of one another. float64 throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus
from torch.nn.utils.rnn import pack_padded_sequence

Array = NDArray[np.float64]
DTYPE = torch.float64
_FED_BACK = 4
# Errors of shape are counted in units of this share of the capacity between level and end of life.
_SHAPE_UNIT = 0.05


class Inputs(NamedTuple):
    """What each member reads of each row, standardised by its own training cells.

    Attributes:
        sequence: padded with anything, shape (members, rows, bins, channels).
        lengths: real bins of each row, shape (rows,).
        summary: shape (members, rows, p).
        prior: the prior's log life, shape (members, rows).
    """

    sequence: Tensor
    lengths: Tensor
    summary: Tensor
    prior: Tensor


class Targets(NamedTuple):
    """What each member should say of each row; of rows that it does not learn from, nothing was seen.

    Attributes:
        shape: z at the nodes, padded with anything, shape (members, rows, nodes).
        seen: how many of them were measured, from the first on, shape (members, rows).
        life: log life, standardised; of a cell that did not end, the bound it lies above, shape (members, rows).
        ended: whether `life` is the life, shape (members, rows).
        alive: whether it is the bound, shape (members, rows).
        life_sd: the prior's error in the same unit, shape (members, 1).
    """

    shape: Tensor
    seen: Tensor
    life: Tensor
    ended: Tensor
    alive: Tensor
    life_sd: Tensor

    @property
    def measured(self) -> Tensor:
        """Which shape values were measured, shape (members, rows, nodes)."""
        return torch.arange(self.shape.shape[2]) < self.seen[..., None]


@dataclass(frozen=True)
class Training:
    """How networks are trained: all rows at once, Adam with decoupled weight decay, a rate falling along half a cosine.

    Attributes:
        epochs: gradient steps.
        rate: Adam's step length at the start.
        decay: share of each weight that is taken off in the first step, in units of the rate.
        forced_share: share of the epochs after which the decoder always runs freely.
        life_weight: of the life's likelihood beside the shape's error.
    """

    epochs: int = 200
    rate: float = 0.01
    decay: float = 0.1
    forced_share: float = 0.6
    life_weight: float = 0.3

    def forcing(self, epoch: int) -> float:
        """Probability that the decoder is given the truth: 1 at first, then falling to 0."""
        return max(0.0, 1.0 - epoch / max(1.0, self.forced_share * self.epochs))


class TrajectoryNetworks:
    """Networks of one form: given cycles in, life and shape out.

    Args:
        seeds: one for each member; its weights depend on nothing else.
        channels: of the sequence.
        summary: numbers in the summary.
        mean_steps: decrements of each member's mean shape, shape (members, nodes): what it says before it is trained.
        hidden: units of encoder and decoder.
    """

    def __init__(self, seeds: list[int], channels: int, summary: int, mean_steps: Array, hidden: int = 12) -> None:
        sizes = {
            "encoder_in": (channels, 3 * hidden),
            "encoder": (hidden, 3 * hidden),
            "correction": (hidden + summary, hidden),
            "start": (hidden + summary, hidden),
            "decoder_in": (_FED_BACK, 3 * hidden),
            "decoder": (hidden, 3 * hidden),
        }
        drawn = [{n: _drawn(r, s) for n, s in sizes.items()} for r in map(np.random.default_rng, seeds)]
        self.weights = {name: torch.from_numpy(np.stack([d[name] for d in drawn])) for name in sizes}
        self.weights |= {name: torch.zeros(len(seeds), hidden, 1, dtype=DTYPE) for name in ("life", "step")}
        self.biases = {name: torch.zeros(len(seeds), 1, w.shape[2], dtype=DTYPE) for name, w in self.weights.items()}
        for each in self.parameters():
            each.requires_grad_()
        steps = mean_steps.shape[1] * torch.as_tensor(mean_steps, dtype=DTYPE).clamp_min(1e-6)
        self.usual = torch.log(torch.expm1(steps))

    def parameters(self) -> list[Tensor]:
        """All weights and biases."""
        return [*self.weights.values(), *self.biases.values()]

    def __call__(self, inputs: Inputs, truth: Tensor | None = None, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log life (members, rows), standardised, and z at u = 0, 1/nodes, ..., 1, shape (members, rows, nodes + 1).

        Args:
            inputs: of each row.
            truth: z at the nodes, shape (members, rows, nodes); None: the decoder runs freely.
            known: which of `truth` the decoder is given for its next step, same shape; the rest is never read.
        """
        context = torch.cat([self._encoded(inputs), inputs.summary], dim=2)
        life = inputs.prior + self._line("life", torch.tanh(self._line("correction", context)))[..., 0]
        return life, self._decoded(torch.tanh(self._line("start", context)), life.detach(), truth, known)

    def _line(self, name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self.biases[name], x, self.weights[name])

    def _encoded(self, inputs: Inputs) -> Tensor:
        """State after each row's last real bin, shape (members, rows, hidden)."""
        members, rows, bins, channels = inputs.sequence.shape
        rows_first = inputs.sequence.permute(1, 2, 0, 3).reshape(rows, bins, members * channels)
        packed = pack_padded_sequence(rows_first, inputs.lengths, batch_first=True, enforce_sorted=False)
        read = packed.data.reshape(-1, members, channels).transpose(0, 1)
        sizes = packed.batch_sizes.tolist()
        state = read.new_zeros(members, rows, self.weights["encoder"].shape[1])
        ready: list[Tensor] = []
        for part, size in zip(torch.split(self._line("encoder_in", read), sizes, dim=1), sizes, strict=True):
            if size < state.shape[1]:
                ready.append(state[:, size:])
                state = state[:, :size]
            state = _gated(part, self._line("encoder", state), state)
        assert packed.unsorted_indices is not None  # noqa: S101 - rows were not sorted
        return torch.cat([state, *reversed(ready)], dim=1)[:, packed.unsorted_indices]

    def _decoded(self, state: Tensor, life: Tensor, truth: Tensor | None, known: Tensor | None) -> Tensor:
        nodes = self.usual.shape[1]
        before, step, one = torch.ones_like(life), torch.zeros_like(life), torch.ones_like(life)
        shape = [before]
        for k in range(nodes):
            fed_back = torch.stack([before, step, one * ((k + 1) / nodes), life], dim=2)
            state = _gated(self._line("decoder_in", fed_back), self._line("decoder", state), state)
            step = softplus(self._line("step", state)[..., 0] + self.usual[:, k, None])
            shape.append(before - step / nodes)
            before = shape[-1] if truth is None or known is None else _with(shape[-1], truth[..., k], known[..., k])
        return torch.stack(shape, dim=2)


def _drawn(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Glorot's normal draw; gates that stand side by side count one by one."""
    outputs = size[1] // 3 if size[1] % 3 == 0 and size[1] > size[0] else size[1]
    return rng.normal(size=size) * math.sqrt(2 / (size[0] + outputs))


def _gated(read: Tensor, kept: Tensor, state: Tensor) -> Tensor:
    """The next state of a gated recurrent unit from what it reads and what it keeps, each (members, rows, 3 hidden)."""
    hidden = state.shape[2]
    gates = torch.sigmoid(read[..., : 2 * hidden] + kept[..., : 2 * hidden])
    fresh = torch.tanh(read[..., 2 * hidden :] + gates[..., :hidden] * kept[..., 2 * hidden :])
    return torch.lerp(fresh, state, gates[..., hidden:])


def _with(own: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """The decoder's own value, or the truth where it is given; by index, so that what is not given is not touched."""
    mixed = own.clone()
    mixed[known] = truth[known]
    return mixed


def losses(networks: TrajectoryNetworks, inputs: Inputs, targets: Targets, known: Tensor | None, life_weight: float) -> Tensor:
    """Of each member: mean squared error of the shapes where they were measured, and the likelihood of the lives.

    Args:
        networks: run freely where `known` is None.
        inputs: of each row.
        targets: of each row.
        known: which true values the decoder is given.
        life_weight: of the life's part.

    Returns:
        Shape (members,).
    """
    life, shape = networks(inputs, targets.shape, known)
    measured = targets.measured
    error = (shape[..., 1:][measured] - targets.shape[measured]) / _SHAPE_UNIT
    off = (targets.life - life) / targets.life_sd
    dead, alive = targets.ended, targets.alive
    ofshape = _means(0.5 * error**2, measured, measured.sum(dim=(1, 2)))
    learned = (dead | alive).sum(dim=1)
    oflife = _means(0.5 * off[dead] ** 2, dead, learned) + _means(-torch.special.log_ndtr(-off[alive]), alive, learned)
    return ofshape + life_weight * oflife


def _means(values: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
    """Sum of the listed values of each member over its count; `values` are those of `chosen`, whose first axis is members."""
    member = chosen.nonzero()[:, 0]
    return values.new_zeros(len(counts)).index_add(0, member, values) / counts.clamp_min(1)


def train(networks: TrajectoryNetworks, inputs: Inputs, targets: Targets, how: Training, seed: int) -> None:
    """Train networks in place; the draws of scheduled sampling come from the seed alone and are the same for all members."""
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(networks.parameters(), lr=how.rate, weight_decay=how.decay)
    measured = targets.measured
    for epoch in range(how.epochs):
        adam.param_groups[0]["lr"] = how.rate * 0.5 * (1 + math.cos(math.pi * epoch / how.epochs))
        share, known = how.forcing(epoch), None
        if share > 0:
            known = measured & (torch.rand(measured.shape[1:], generator=generator, dtype=DTYPE) < share)
        adam.zero_grad()
        losses(networks, inputs, targets, known, how.life_weight).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
    adam.zero_grad()
