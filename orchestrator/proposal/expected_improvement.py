"""Expected improvement in closed form, and its logarithm.

For a belief Y ~ N(mu, sigma^2) and an incumbent b, with z = (mu - b)/sigma when more is better:

    EI    = E[max(Y - b, 0)] = sigma h(z),    h(z) = phi(z) + z Phi(z)
    LogEI = log sigma + log h(z)

EI is Jones, Schonlau and Welch (1998), eq. 15. Far from the incumbent h underflows; log h does not (Ament et al. 2023,
"Unexpected improvements to expected improvement", eq. 9):

    log h(z) = log(phi(z) + z Phi(z))                                        z > -1
             = -z^2/2 - log(2 pi)/2 + log(1 - |z| sqrt(pi/2) erfcx(|z|/sqrt 2))   -25 < z <= -1
             = -z^2/2 - log(2 pi)/2 - 2 log|z| + log(1 - 3/z^2 + 15/z^4 - ...)    z <= -25

The last line is the asymptotic series of the Mills ratio; at z = -25 both lines agree to 1e-13. Everything is
differentiable in torch. With noisy results the incumbent is the best posterior mean among what was tested, never the best
observation, which would be the luckiest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
_MIDDLE, _FAR = -1.0, -25.0
_TINY = 1e-300
# Coefficients of 1 - z^2 R(|z|) |z| in powers of 1/z^2, after the leading one: -3, +15, -105 ... (double factorials).
_SERIES = (-3.0, 15.0, -105.0, 945.0, -10395.0, 135135.0)


def improvement(z: Tensor) -> Tensor:
    """h(z) = phi(z) + z Phi(z), the expected improvement of a standard normal belief; any shape, relative error < 1e-10."""
    near = z.clamp_min(_MIDDLE)
    direct = torch.exp(-0.5 * near.square() - _LOG_ROOT_2PI) + near * torch.special.ndtr(near)
    return torch.where(z > _MIDDLE, direct, torch.exp(log_improvement(z.clamp_max(_MIDDLE))))


def log_improvement(z: Tensor) -> Tensor:
    """Log h(z), finite for every finite z; any shape."""
    near, middle, far = z.clamp_min(_MIDDLE), z.clamp(_FAR, _MIDDLE), z.clamp_max(_FAR)
    direct = torch.log(torch.exp(-0.5 * near.square() - _LOG_ROOT_2PI) + near * torch.special.ndtr(near))
    short = 1 + middle * math.sqrt(math.pi / 2) * torch.special.erfcx(-middle / math.sqrt(2.0))
    tail = torch.where(z > _FAR, torch.log(short), -2 * torch.log(-far) + torch.log1p(_series(far)))
    # The quadratic term is taken of z itself: a clamped one would lose the gradient.
    below = -0.5 * z.clamp_max(_MIDDLE).square() - _LOG_ROOT_2PI + tail
    return torch.where(z > _MIDDLE, direct, below)


def _series(z: Tensor) -> Tensor:
    inverse = z.square().reciprocal()
    total = torch.zeros_like(z)
    for coefficient in reversed(_SERIES):
        total = (total + coefficient) * inverse
    return total


def expected_improvement(mean: Tensor, sd: Tensor, best: Tensor | float, maximize: bool = True) -> Tensor:
    """EI of beliefs N(mean, sd^2) over an incumbent.

    Args:
        mean: posterior means, any shape, in the metric's unit.
        sd: posterior standard deviations > 0, same shape.
        best: the incumbent.
        maximize: whether more is better.

    Returns:
        Same shape, in the metric's unit.
    """
    return sd * improvement(_standardised(mean, sd, best, maximize))


def log_expected_improvement(mean: Tensor, sd: Tensor, best: Tensor | float, maximize: bool = True) -> Tensor:
    """Log EI, finite where EI itself underflows to 0; arguments as `expected_improvement`."""
    return torch.log(sd.clamp_min(_TINY)) + log_improvement(_standardised(mean, sd, best, maximize))


def _standardised(mean: Tensor, sd: Tensor, best: Tensor | float, maximize: bool) -> Tensor:
    gain = mean - best if maximize else best - mean
    return gain / sd.clamp_min(_TINY)
