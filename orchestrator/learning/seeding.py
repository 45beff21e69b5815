"""Randomness that repeats: seeds derived from what is known, and numerics that leave no trace outside.

Proposals must come out the same for the same spec and the same observations, in any process and whatever ran before.
So nothing draws from a global generator: seeds are hashes of their purpose, and libraries that only know the global
generator run inside `reproducible`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derive_seed(*parts: object) -> int:
    """A seed in 0 .. 2**31 - 1 that depends on the parts and on nothing else (not on `PYTHONHASHSEED`)."""
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread inside the block.

    The matrices here are small, the lab's other work needs the cores, and sums over threads come in no fixed order. On a
    machine whose cores are busy, a library's threads wait for one another: a fit of 0.2 s has been seen to take 30 s.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch and numpy inside the block, on one thread, and put everything back after it.

    One thread because sums over several come in no fixed order, and because the matrices here are small: more threads
    are slower, and the lab's other work needs the cores.
    """
    import torch

    threads, numpy_state = torch.get_num_threads(), np.random.get_state()  # noqa: NPY002 - what libraries draw from
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.set_num_threads(threads)
