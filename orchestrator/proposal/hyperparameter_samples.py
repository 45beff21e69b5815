"""What is believed of a response when its hyperparameters are not known: the average over those that the data allow.

While results are few or noisy, many lengthscales and signals explain them about as well, and the most probable ones alone make
a belief that is too sure. The posterior of a response is therefore averaged over a grid around the most probable values, each
node weighed by its posterior density, as in integrated nested Laplace approximations (Rue, Martino and Chopin 2009, section 3):

    p(f | y) = sum_k w_k p(f | y, theta_k),    w_k proportional to p(y | theta_k) p(theta_k)

The grid has two directions: all lengthscales longer or shorter together, and the signal. How the lengthscales stand to each other
and the spread between cells stay as fitted. Where the data are plenty one node has all the weight, and the average is the fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.proposal.beliefs import Beliefs
from orchestrator.proposal.marginal_likelihood import LOG_SIGNAL_BOUNDS, Hyperparameters, Prior
from orchestrator.proposal.surrogate import CHUNK, Surrogate

Matrix = NDArray[np.float64]

# Steps of the logarithms from the fitted values: lengths and signals go up further than down, where data say the most.
LENGTH_STEPS, SIGNAL_STEPS = (-0.7, 0.0, 0.7, 1.4, 2.1), (-1.0, 0.0, 1.0, 2.0)
# How far the lengthscales may stray together from the prior's median.
LENGTHS_LOG_SD = 0.8
# Nodes with less weight than this share of the heaviest one's are left out.
_LIGHTEST = 0.01
# With more points than this, the hyperparameters are known well enough.
LARGEST_AVERAGED = 320


class AveragedSurrogate(Surrogate):
    """A surrogate that averages what it says over hyperparameters; what `place` and acquisitions read is the most probable one's.

    Attributes:
        nodes: surrogates of the same readings with other hyperparameters, the most probable one among them.
        weights: of the nodes, shape (nodes,), summing to one.
    """

    def __init__(self, fitted: Surrogate) -> None:
        super().__init__(fitted.readings, fitted.prior, fitted.centre, fitted.scale, fitted.hyperparameters)
        others = _around(fitted.hyperparameters, fitted.prior) if fitted.points <= LARGEST_AVERAGED else ()
        nodes = [Surrogate(self.readings, self.prior, self.centre, self.scale, other) for other in others] + [fitted]
        density = np.array([node.log_evidence + _log_prior(node.hyperparameters, self.prior) for node in nodes])
        weights = np.exp(density - density.max())
        kept = weights >= _LIGHTEST
        self.nodes = [node for node, heavy in zip(nodes, kept, strict=True) if heavy]
        self.weights = weights[kept] / weights[kept].sum()

    def posterior(self, X: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of the underlying response at points of shape (n, d), what the nodes differ by included."""
        parts = [self._averaged(X[i : i + CHUNK]) for i in range(0, len(X), CHUNK)] or [self._averaged(X)]
        mean, variance = (np.concatenate(column) for column in zip(*parts, strict=True))
        return self.centre + self.scale * mean, self.scale * np.sqrt(variance)

    def fitted_posterior(self, X: Matrix) -> tuple[Matrix, Matrix]:
        """The posterior under the most probable hyperparameters alone: for a first look at a long list."""
        return super().posterior(X)

    def _averaged(self, X: Matrix) -> tuple[Matrix, Matrix]:
        places = [node.place(X) for node in self.nodes]
        means = np.stack([place.mean for place in places])
        mean = self.weights @ means
        return mean, self.weights @ (np.stack([place.variance for place in places]) + (means - mean) ** 2)

    def moments(self, X: Matrix) -> tuple[Matrix, Matrix]:
        """Mean, shape (n,), and covariance, shape (n, n), of the scaled response at points of shape (n, d)."""
        places = [node.place(X) for node in self.nodes]
        mean = self.weights @ np.stack([place.mean for place in places])
        covariance = np.zeros((len(X), len(X)))
        for node, place, weight in zip(self.nodes, places, self.weights, strict=True):
            off = place.mean - mean
            covariance += weight * (node.covariance_between(place, place) + np.outer(off, off))
        return mean, covariance


def average_of(surrogate: Surrogate) -> AveragedSurrogate:
    """A surrogate averaged over its hyperparameters; one that is averaged is returned as it is."""
    return surrogate if isinstance(surrogate, AveragedSurrogate) else AveragedSurrogate(surrogate)


def averaged(beliefs: Beliefs) -> Beliefs:
    """The same beliefs, every surrogate averaged over its hyperparameters."""
    return replace(beliefs, surrogates={metric: average_of(s) for metric, s in beliefs.surrogates.items()})


def _around(fitted: Hyperparameters, prior: Prior) -> Iterable[Hyperparameters]:
    """The grid's other nodes, as far as they keep the prior's bounds."""
    shortest, longest = prior.lengthscale_bounds
    for length, signal in product(LENGTH_STEPS, SIGNAL_STEPS):
        node = replace(fitted, lengthscales=fitted.lengthscales * math.exp(length), signal=fitted.signal * math.exp(signal))
        lengths = _for_one_dimension(node, prior)
        inside = lengths.min() >= shortest and lengths.max() <= longest
        known = LOG_SIGNAL_BOUNDS[0] <= math.log(node.signal) <= LOG_SIGNAL_BOUNDS[1]
        if inside and known and (length or signal):
            yield node


def _log_prior(at: Hyperparameters, prior: Prior) -> float:
    """Of the lengthscales together, and of the signal: normal in their logarithms."""
    lengths = float(np.log(_for_one_dimension(at, prior) / prior.lengthscale).mean()) / LENGTHS_LOG_SD
    signal = math.log(at.signal / prior.signal) / prior.signal_log_sd
    return -0.5 * (lengths**2 + signal**2)


def _for_one_dimension(at: Hyperparameters, prior: Prior) -> Matrix:
    """The lengthscales as a prior states them: over the root of the number of columns that share a kernel, shape (d,)."""
    together = np.full(len(at.lengthscales), float(len(at.lengthscales)))
    for group in prior.groups:
        together[list(group.columns)] = len(group.columns)
    return np.asarray(at.lengthscales / np.sqrt(together))
