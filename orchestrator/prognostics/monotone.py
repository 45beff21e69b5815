"""A penalty on capacity that rises: what a network pays for each step that real ageing would not take.

    r_t = (q_{t+1} - q_t) / q0 - tolerance                      the rise of one step, as a share of the initial capacity
    hinge:     mean of max(r_t, 0)
    softplus:  mean of log(1 + exp(beta r_t)) / beta

Softplus has a slope everywhere, and with it a pull on steps that do fall: with beta = 50 it biased the fade of noisy curves by
-0.15 q0, with beta = 2000 on these normalised steps by nothing that could be seen. The hinge is exactly zero for falling curves;
its slope jumps, so it chatters unless the learning rate decays. Real cells recover a little after rests: `tolerance` is the rise
that is measured in healthy ones. Monotone networks by penalty: Sill and Abu-Mostafa, Advances in Neural Information
Processing Systems 9 (1997) 634.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from orchestrator.domain.errors import Fault, SpecError

KINDS = ("hinge", "softplus")


@dataclass(frozen=True)
class MonotoneDecayPenalty:
    """Mean rise of capacity per step, to be added to a loss with a weight.

    It has no unit: capacity and `q0` scaled alike give the same value and the same direction.

    Attributes:
        kind: `hinge` or `softplus`.
        tolerance: rise per step that costs nothing, as a share of `q0`, >= 0 (recovery after rests).
        beta: sharpness of the softplus, per share of `q0`.

    Example:
        >>> penalty = MonotoneDecayPenalty("softplus")
        >>> loss = ((q - measured)[mask] ** 2).mean() / q0**2 + 10 * penalty(q, q0, mask)
    """

    kind: str = "hinge"
    tolerance: float = 0.0
    beta: float = 2000.0

    def __post_init__(self) -> None:
        faults = []
        if self.kind not in KINDS:
            faults.append(Fault("kind", f"must be {' or '.join(KINDS)} (got {self.kind!r})."))
        if not self.tolerance >= 0:
            faults.append(Fault("tolerance", f"must be a share of the initial capacity >= 0 (got {self.tolerance:g})."))
        if not self.beta > 0:
            faults.append(Fault("beta", f"must be positive (got {self.beta:g})."))
        if faults:
            raise SpecError(faults)

    def __call__(self, q: Tensor, q0: Tensor | float, mask: Tensor | None = None) -> Tensor:
        """The penalty of predicted curves.

        Args:
            q: capacity over steps, shape (..., steps), in any unit.
            q0: initial capacity > 0 in the same unit: a number, or one for each curve, shape (...) or (..., 1).
            mask: True where a step is real, in a shape that broadcasts to (..., steps); a rise counts where both ends are real,
                and what stands elsewhere (padding, NaN) touches neither value nor gradient. None: all are real.

        Returns:
            Mean over the steps that count, a scalar of `q`'s dtype; 0 if none does.

        Raises:
            SpecError: if shapes do not fit, or `q0` is not positive.
        """
        pairs = _pairs(q, mask)
        before, after = q[..., :-1][pairs], q[..., 1:][pairs]
        rise = (after - before) / _initial(q, q0)[pairs] - self.tolerance
        if rise.numel() == 0:
            return rise.sum()
        cost = torch.relu(rise) if self.kind == "hinge" else softplus(rise, beta=self.beta, threshold=30.0)
        return cost.mean()


def _pairs(q: Tensor, mask: Tensor | None) -> Tensor:
    """Which steps have both ends real, (..., steps - 1)."""
    real = torch.ones_like(q, dtype=torch.bool) if mask is None else mask.to(torch.bool)
    try:
        real = real.expand(q.shape)
    except RuntimeError:
        problem = f"must have the shape of q, (..., steps) (got {tuple(real.shape)}, q {tuple(q.shape)})."
        raise SpecError(Fault("mask", problem)) from None
    if q.ndim == 0:
        raise SpecError(Fault("q", "must have an axis of steps."))
    return real[..., 1:] & real[..., :-1]


def _initial(q: Tensor, q0: Tensor | float) -> Tensor:
    """The initial capacity beside each step, (..., steps - 1)."""
    start = torch.as_tensor(q0, dtype=q.dtype, device=q.device)
    if not bool((start > 0).all()):
        raise SpecError(Fault("q0", "must be a positive capacity, in the unit of q."))
    if start.shape == q.shape[:-1]:
        start = start[..., None]
    if start.ndim and start.shape != (*q.shape[:-1], 1):
        raise SpecError(Fault("q0", f"must be a number or one for each curve (got {tuple(start.shape)}, q {tuple(q.shape)})."))
    return start.expand(*q.shape[:-1], q.shape[-1] - 1) if q.shape[-1] else start
