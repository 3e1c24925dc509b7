"""Named random streams derived from a run's seed.

Nothing in the harness draws from global random state: a draw is a pure function of the seed and
of the names that lead to it, so that resuming or reordering work can't change a result.
"""

from __future__ import annotations

import hashlib

import numpy as np

Name = str | int


def key64(seed: int, *names: Name) -> int:
    """The unsigned 64-bit key of the stream ``names`` under ``seed``."""
    path = "\x1f".join([str(int(seed)), *(f"{type(n).__name__}:{n}" for n in names)])
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")


def keys64(seed: int, *names: Name, n: int) -> list[int]:
    """``n`` unsigned 64-bit keys, key ``i`` being that of the stream ``(*names, i)``."""
    return [key64(seed, *names, i) for i in range(n)]


def stream(seed: int, *names: Name) -> np.random.Generator:
    """A generator for the stream ``names`` under ``seed``."""
    return np.random.Generator(np.random.PCG64(key64(seed, *names)))
