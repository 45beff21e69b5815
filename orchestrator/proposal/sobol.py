"""Feasible quasi-random points of a search space: first designs, baselines, and the pool that acquisitions search.

Sobol points (Sobol' 1967, scrambled as Owen 1998) cover a space more evenly than random ones. Compositions are mapped from the
cube; other linear constraints are kept by rejection; where they leave almost nothing of the box, a random walk inside them
(hit-and-run, Smith 1984) takes over.
"""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from orchestrator.domain import Candidate, SearchSpace
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.learning.seeding import derive_seed
from orchestrator.proposal.history import History
from orchestrator.proposal.mixtures import blended, compositions
from orchestrator.proposal.narrow_space import walk
from orchestrator.proposal.space_encoding import SpaceEncoding

Matrix = NDArray[np.float64]

_FIRST_BLOCK, _LARGEST_BLOCK, _MAX_DRAWS = 64, 4096, 2**17
# How many more points than wanted are looked at for new ones; that many times more where all of those have failed.
_SPARE, _FURTHER = 64, 64


def first_design(space: SearchSpace, n: int, history: History) -> list[Candidate]:
    """The next `n` candidates of an even first design: the space's Sobol sequence goes on where the history stands.

    Args:
        space: what is searched.
        n: how many.
        history: whose points are not proposed again while a new candidate is left; what failed never is.

    Returns:
        `n` candidates; they repeat where no more distinct ones exist.

    Raises:
        NeedsPersonError: if every candidate found has failed.
    """
    known, barred = {p.candidate for p in history.points}, history.failed
    for spare in (_SPARE, _FURTHER * _SPARE):
        drawn = sobol_candidates(space, n + len(known) + spare, history.spec.seed, skip=len(history.points))
        sound = list(dict.fromkeys(c for c in drawn if c not in barred))
        if sound:
            fresh = [c for c in sound if c not in known]
            again = [c for c in sound if c in known] + fresh
            return [*fresh, *islice(cycle(again), n)][:n]
    raise NeedsPersonError("no candidate is left to propose: each has failed. Widen the space, or end the campaign.")


def sobol_candidates(space: SearchSpace, n: int, seed: int, skip: int = 0) -> list[Candidate]:
    """The first `n` feasible points of the space's Sobol sequence after `skip` of them.

    Args:
        space: with or without linear constraints.
        n: how many.
        seed: of the scrambling; the same seed gives the same sequence.
        skip: feasible points already used.

    Returns:
        Candidates with derived parameters computed. In a space of few distinct points some may repeat.
    """
    encoding = SpaceEncoding(space)
    return [encoding.candidate(row) for row in sobol_values(encoding, n + skip, seed)[skip:]]


def sobol_values(encoding: SpaceEncoding, n: int, seed: int) -> Matrix:
    """The first `n` feasible points of the sequence, as values of shape (n, p)."""
    mixed = compositions(encoding)
    if mixed is None:
        return walk(encoding, n, derive_seed(seed, "walk"))
    engine = qmc.Sobol(encoding.latent, scramble=True, rng=np.random.default_rng(derive_seed(seed, "sobol")))
    kept, found, drawn, block = [], 0, 0, _FIRST_BLOCK
    while found < n and drawn < _MAX_DRAWS:
        U = engine.random(block)
        V = blended(encoding, encoding.values_from_latent(U), U, mixed)
        V = V[encoding.feasible(V) & encoding.within(V)]
        kept.append(V)
        found, drawn, block = found + len(V), drawn + block, min(2 * block, _LARGEST_BLOCK)
    V = np.vstack(kept)[:n]
    return V if len(V) == n else np.vstack([V, walk(encoding, n - len(V), derive_seed(seed, "walk"))])
