"""The surrogate as a BoTorch model, for acquisitions that want one; and the one decision about BoTorch's C++ kernel."""

from __future__ import annotations

import botorch.acquisition.multi_objective.logei as _log_hypervolume
import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import ConstantKernel, Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import ZeroMean
from torch import Tensor

from orchestrator.proposal.marginal_likelihood import JITTER, SQUARED_FLOOR, Hyperparameters
from orchestrator.proposal.multiple_kernel import KernelSum
from orchestrator.proposal.surrogate import Surrogate

# BoTorch compiles a C++ kernel for qLogNEHVI at its first use: a minute, under a lock that a killed process leaves behind.
# Decided here, once, for all that touches BoTorch: never; the pure-Python form is used.
_log_hypervolume._load_attempted = True  # noqa: SLF001 - BoTorch offers no other switch


def botorch_model(surrogate: Surrogate) -> CellSpreadGP:
    """The same belief as a BoTorch model of scaled outcomes, hyperparameters fixed."""
    arrays = (surrogate.readings.X, surrogate.y, surrogate.noise)
    X, y, noise = (torch.from_numpy(np.ascontiguousarray(a, dtype=np.float64)) for a in arrays)
    kernel = _kernel(surrogate.hyperparameters, surrogate.prior.known_level, surrogate.kernels)
    return CellSpreadGP(X, y, noise, surrogate.hyperparameters.spread, kernel)


class CellSpreadGP(SingleTaskGP):
    """A BoTorch model with known noise per observation and one more variance for what differs from cell to cell.

    Args:
        X: shape (n, d).
        y: scaled outcomes, shape (n,).
        noise: their known variances, shape (n,).
        spread: the further variance.
        kernel: the prior covariance of the response, the level's included, its parameters fixed.
    """

    def __init__(self, X: Tensor, y: Tensor, noise: Tensor, spread: float, kernel: Kernel) -> None:
        super().__init__(
            X,
            y[:, None],
            likelihood=FixedNoiseGaussianLikelihood(noise + spread + JITTER),
            covar_module=kernel,
            mean_module=ZeroMean(),
            outcome_transform=None,
        )
        self.to(X)
        self.requires_grad_(False)
        self.eval()


def _kernel(hyperparameters: Hyperparameters, known_level: bool, several: KernelSum | None) -> Kernel:
    kernel = _one_kernel(hyperparameters) if several is None else GroupedKernel(several)
    if known_level:
        return kernel
    level = ConstantKernel().double()
    level.constant = torch.ones(1, dtype=torch.float64)
    return kernel + level


def _one_kernel(hyperparameters: Hyperparameters) -> Kernel:
    columns = len(hyperparameters.lengthscales)
    one = RBFKernel(ard_num_dims=columns) if hyperparameters.smooth else MaternKernel(nu=2.5, ard_num_dims=columns)
    one = one.double()
    one.lengthscale = torch.from_numpy(hyperparameters.lengthscales)
    kernel = ScaleKernel(one).double()
    kernel.outputscale = torch.tensor(hyperparameters.signal, dtype=torch.float64)
    return kernel


class GroupedKernel(Kernel):
    """The kernels of groups of columns as `multiple_kernel.KernelSum` has them, in torch: centred, normalised, weighted."""

    is_stationary = False

    def __init__(self, several: KernelSum) -> None:
        super().__init__()
        self.several = several
        self.reference = torch.from_numpy(np.ascontiguousarray(several.reference))
        self.lengthscales = torch.from_numpy(several.lengthscales)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: object) -> Tensor:
        """The covariance between points of shape (..., n, d) and (..., m, d): (..., n, m), or (..., n) of pairs."""
        own = self._own(x1, x2, diag)
        pairs = _pair_products(own)
        at, bt = self._pair_offset(x1), self._pair_offset(x2)
        pairs = pairs - at - bt if diag else pairs - at[..., :, None] - bt[..., None, :]
        kernels = [*own, pairs / self.several.pair_trace]
        return sum((float(v) * k for v, k in zip(self.several.variances, kernels, strict=True)), torch.zeros_like(pairs))

    def _own(self, A: Tensor, B: Tensor, diag: bool = False) -> list[Tensor]:
        found = []
        for group, level, trace in zip(self.several.groups, self.several.levels, self.several.traces, strict=True):
            columns = list(group.columns)
            at, bt = (self._matern(Z, self.reference, columns, False).mean(dim=-1) - level / 2 for Z in (A, B))
            away = at + bt if diag else at[..., :, None] + bt[..., None, :]
            found.append((self._matern(A, B, columns, diag) - away) / trace)
        return found

    def _pair_offset(self, A: Tensor) -> Tensor:
        return _pair_products(self._own(A, self.reference)).mean(dim=-1) - self.several.pair_level / 2

    def _matern(self, A: Tensor, B: Tensor, columns: list[int], diag: bool) -> Tensor:
        A, B = A[..., columns] / self.lengthscales[columns], B[..., columns] / self.lengthscales[columns]
        apart = A - B if diag else A[..., :, None, :] - B[..., None, :, :]
        r = (5.0 * (apart**2).sum(dim=-1)).clamp_min(SQUARED_FLOOR).sqrt()
        return (1 + r + r**2 / 3) * torch.exp(-r)


def _pair_products(kernels: list[Tensor]) -> Tensor:
    stacked = torch.stack(kernels)
    return (stacked.sum(dim=0) ** 2 - (stacked**2).sum(dim=0)) / 2
