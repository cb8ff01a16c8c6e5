"""95 % intervals of means and shares."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, sem, t


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % t interval of the mean of `values`, shares from 0 to 1, cut to that range.

    Of folds: these share most of their training images, so that their accuracies are not independent: no unbiased
    estimate of the mean's variance exists (Bengio and Grandvalet, JMLR 2004), and the interval is as a rule too short.
    """
    mean, error = float(np.mean(values)), float(sem(values))
    if error == 0:
        return mean, mean
    low, high = t.interval(0.95, len(values) - 1, loc=mean, scale=error)
    return max(float(low), 0.0), min(float(high), 1.0)


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share: `count` of `total`."""
    found = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)
