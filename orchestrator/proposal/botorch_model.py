"""The surrogate as a BoTorch model, for acquisitions that want one; and the one decision about BoTorch's C++ kernel."""

from __future__ import annotations

import botorch.acquisition.multi_objective.logei as _log_hypervolume
import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import ConstantKernel, Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import ZeroMean
from torch import Tensor

from orchestrator.proposal.marginal_likelihood import JITTER, Hyperparameters
from orchestrator.proposal.surrogate import Surrogate

# BoTorch compiles a C++ kernel for qLogNEHVI at its first use: a minute, under a lock that a killed process leaves behind.
# Decided here, once, for all that touches BoTorch: never; the pure-Python form is used.
_log_hypervolume._load_attempted = True  # noqa: SLF001 - BoTorch offers no other switch


def botorch_model(surrogate: Surrogate) -> CellSpreadGP:
    """The same belief as a BoTorch model of scaled outcomes, hyperparameters fixed."""
    arrays = (surrogate.readings.X, surrogate.y, surrogate.noise)
    X, y, noise = (torch.from_numpy(np.ascontiguousarray(a, dtype=np.float64)) for a in arrays)
    return CellSpreadGP(X, y, noise, surrogate.hyperparameters, surrogate.prior.known_level)


class CellSpreadGP(SingleTaskGP):
    """A BoTorch model with known noise per observation and one more variance for what differs from cell to cell.

    Args:
        X: shape (n, d).
        y: scaled outcomes, shape (n,).
        noise: their known variances, shape (n,).
        hyperparameters: fixed.
        known_level: whether the prior mean is 0, not unknown.
    """

    def __init__(self, X: Tensor, y: Tensor, noise: Tensor, hyperparameters: Hyperparameters, known_level: bool) -> None:
        super().__init__(
            X,
            y[:, None],
            likelihood=FixedNoiseGaussianLikelihood(noise + hyperparameters.spread + JITTER),
            covar_module=_kernel(hyperparameters, known_level),
            mean_module=ZeroMean(),
            outcome_transform=None,
        )
        self.to(X)
        self.requires_grad_(False)
        self.eval()


def _kernel(hyperparameters: Hyperparameters, known_level: bool) -> Kernel:
    smooth = MaternKernel(nu=2.5, ard_num_dims=len(hyperparameters.lengthscales)).double()
    smooth.lengthscale = torch.from_numpy(hyperparameters.lengthscales)
    kernel = ScaleKernel(smooth).double()
    kernel.outputscale = torch.tensor(hyperparameters.signal, dtype=torch.float64)
    if known_level:
        return kernel
    level = ConstantKernel().double()
    level.constant = torch.ones(1, dtype=torch.float64)
    return kernel + level
