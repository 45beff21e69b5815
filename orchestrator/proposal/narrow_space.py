"""Feasible points of a space that linear constraints leave almost nothing of: where rejection from the box finds none.

A mixed-integer program finds whole numbers and choices that the constraints allow, and vertices of what they leave of the
ranges; from between these, hit-and-run walks (Smith 1984) go on. Steps are combinations of the vertices' differences: so they
stay in the affine hull, on every equality, and are long where the space is long. Each step's chord is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import Candidate, RangeParameter
from orchestrator.domain.errors import NeedsPersonError
from orchestrator.domain.feasible_points import FeasibleProgram
from orchestrator.learning.seeding import derive_seed
from orchestrator.proposal.mixtures import restored
from orchestrator.proposal.space_encoding import SpaceEncoding

Matrix = NDArray[np.float64]

_STARTS, _BLOCK = 16, 256
_STEPS, _STEPS_PER_RANGE = 10, 10
# Places on a chord that are weighed where a logarithm is to be even.
_PLACES = 32
# What a linear program calls feasible.
_PROGRAM_SLACK = 1e-6


@dataclass(frozen=True)
class _Start:
    """Whole numbers and choices that leave something of the ranges.

    Attributes:
        centre: values of shape (p,), between the vertices.
        spread: the vertices about the centre, shape (k, p); 0 in every column that does not move.
    """

    centre: Matrix
    spread: Matrix


def walk(encoding: SpaceEncoding, n: int, seed: int) -> Matrix:
    """Feasible points by random walks that start between vertices found by a mixed-integer program.

    Args:
        encoding: of a space with linear constraints.
        n: how many.
        seed: the same seed gives the same points; more of them begin with the fewer.

    Returns:
        Values, shape (n, p); they may repeat where few distinct points exist.

    Raises:
        NeedsPersonError: if nothing keeps the constraints.
    """
    starts = _starts(encoding, np.random.default_rng(derive_seed(seed, "starts")))
    blocks = [_strolls(encoding, starts, derive_seed(seed, "strolls", i)) for i in range(-(-n // _BLOCK))]
    return np.vstack(blocks)[:n] if blocks else np.zeros((0, encoding.latent))


def _starts(encoding: SpaceEncoding, rng: np.random.Generator) -> list[_Start]:
    """Where walks begin: as many different settings of whole numbers and choices as a few random wishes lead to."""
    space = encoding.space
    program = FeasibleProgram(space.inputs, space.rules, space.present)
    whole = [p.name for p in space.free if not isinstance(p, RangeParameter) and p.name not in space.present]
    found: dict[tuple[Any, ...], _Start] = {}
    for _ in range(_STARTS if whole else 1):
        wish = encoding.natural(encoding.values_from_latent(rng.random((1, encoding.latent)))[0])
        point = program.point(near={name: wish[name] for name in whole if name in wish})
        if point is None:
            raise NeedsPersonError(
                "no point of the space keeps all its linear constraints. Widen the bounds or drop a constraint."
            )
        there = space.settled(point).parameters
        fixed = {name: there[name] for name in whole if name in there}
        key = tuple(fixed.items())
        if key not in found:
            found[key] = _between_vertices(encoding, program, fixed, rng)
    return list(found.values())


def _between_vertices(
    encoding: SpaceEncoding, program: FeasibleProgram, fixed: dict[str, Any], rng: np.random.Generator
) -> _Start:
    names = [p.name for p in encoding.parameters]
    corners = []
    for _ in range(2 * int(encoding.ranges.sum()) + 2):
        point = program.point(dict(zip(names, rng.standard_normal(len(names)), strict=True)), fixed)
        corners += [] if point is None else [point]
    if not corners:  # feasible by the program's own rounding only
        raise NeedsPersonError("no point of the space keeps all its linear constraints. Widen the bounds or drop a constraint.")
    V = restored(encoding, encoding.settled(encoding.values([Candidate(corner) for corner in corners])))
    centre = V.mean(axis=0)
    return _Start(np.where(encoding.ranges, centre, V[0]), np.where(encoding.ranges, V - centre, 0.0))


def _strolls(encoding: SpaceEncoding, starts: list[_Start], seed: int) -> Matrix:
    """A block of points, the starts in turn: shape (block, p)."""
    rng = np.random.default_rng(seed)
    V = np.zeros((_BLOCK, encoding.latent))
    for i, start in enumerate(starts):
        rows = np.arange(i, _BLOCK, len(starts))
        V[rows] = _stroll(encoding, start, len(rows), rng)
    return V


def _stroll(encoding: SpaceEncoding, start: _Start, n: int, rng: np.random.Generator) -> Matrix:
    """Hit-and-run over the ranges from one start, whole numbers and choices held: shape (n, p)."""
    V = np.tile(start.centre, (n, 1))
    if start.spread.any():
        normals, limits = _walls(encoding, start.centre)
        for _ in range(_STEPS + _STEPS_PER_RANGE * int(start.spread.any(axis=0).sum())):
            direction = rng.standard_normal((n, len(start.spread))) @ start.spread
            V = V + _lengths(encoding, V, direction, normals, limits, rng)[:, None] * direction
    V = restored(encoding, encoding.settled(V))
    sound = encoding.within(V) & encoding.feasible(V)
    sound |= encoding.within(V) & encoding.feasible(V, _PROGRAM_SLACK) & ~sound.any()
    return np.where(sound[:, None], V, start.centre)


def _walls(encoding: SpaceEncoding, at: Matrix) -> tuple[Matrix, Matrix]:
    """The half-spaces `normals @ v <= limits` that the ranges must stay in, other columns as they are at one point."""
    low, high = encoding.bounds
    bind = encoding.applies(at[None])[0] & ~encoding.equalities
    normals = np.vstack([encoding.coefficients[bind], np.eye(encoding.latent), -np.eye(encoding.latent)])
    normals = np.where(encoding.ranges, normals, 0.0)
    room = -encoding.excess(at[None])[0, bind]
    ends = [np.where(encoding.ranges, end, 0.0) for end in (high, -low)]
    limits = np.concatenate([room + normals[: len(room)] @ at, *ends])
    return normals, limits


def _lengths(
    encoding: SpaceEncoding, V: Matrix, direction: Matrix, normals: Matrix, limits: Matrix, rng: np.random.Generator
) -> Matrix:
    """How far each point goes along its direction: evenly over the chord, or evenly in the logarithms it crosses, shape (n,)."""
    speed, room = direction @ normals.T, np.maximum(limits - V @ normals.T, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = room / np.abs(speed)
    ahead = np.where(speed > 0, times, np.inf).min(axis=1)
    behind = np.where(speed < 0, times, np.inf).min(axis=1)
    ends = np.where(np.isfinite(ahead) & np.isfinite(behind), (-behind, ahead), 0.0)
    places = ends[0][:, None] + (ends[1] - ends[0])[:, None] * (np.arange(_PLACES) + rng.random((len(V), _PLACES))) / _PLACES
    log = np.array([isinstance(p, RangeParameter) and p.log for p in encoding.parameters]) & encoding.ranges
    weight = np.ones_like(places)
    for j in np.flatnonzero(log):
        weight /= np.maximum(V[:, j, None] + places * direction[:, j, None], encoding.bounds[0][j])
    reach = np.cumsum(weight, axis=1)
    taken = (reach < rng.random((len(V), 1)) * reach[:, -1:]).sum(axis=1)
    return np.asarray(places[np.arange(len(V)), taken])
