"""Random numbers that depend on the cycler's seed, the test's key and their purpose, and on nothing else.

So a key always gets the same cell, the same contacts and the same noise, whichever process asks, and in whatever order.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, key: str, purpose: str) -> np.random.Generator:
    """A generator seeded by the sha256 of seed, key and purpose."""
    digest = hashlib.sha256(f"{seed}\x1f{key}\x1f{purpose}".encode()).digest()
    words = np.frombuffer(digest, dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence(words.tolist()))
