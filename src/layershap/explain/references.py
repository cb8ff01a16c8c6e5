"""Which training images the references are."""

from collections.abc import Sequence

import numpy as np


def choose_references(labels: Sequence[int], count: int, seed: int) -> list[int]:
    """Return `count` positions in `labels`, drawn without replacement, as many of each class as can be.

    The order is mixed class by class (0, 1, 0, 1, ...), so that any beginning of the list is balanced too. Raises
    ValueError where there are fewer labels than `count`.
    """
    numbers = np.asarray(labels)
    if not 1 <= count <= len(numbers):
        raise ValueError(f"references must be from 1 to the {len(numbers)} training images, not {count}")
    generator = np.random.default_rng(seed)
    pools = [list(generator.permutation(np.flatnonzero(numbers == label))) for label in np.unique(numbers)]
    chosen: list[int] = []
    while len(chosen) < count:
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(int(pool.pop()))
    return chosen
