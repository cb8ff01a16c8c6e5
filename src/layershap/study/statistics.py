"""Intervals over images, tests with many layers, and slopes."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, wilcoxon

RESAMPLES = 2000


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of `values` [N] and its 95 % interval by bootstrap over them (percentiles); NaN are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return (float("nan"),) * 3
    drawn = np.random.default_rng(seed).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[drawn].mean(1), [0.025, 0.975])
    return float(known.mean()), float(low), float(high)


def above_chance(values: np.ndarray, chance: float) -> float:
    """Return the p-value of `values` [N] lying above `chance`: Wilcoxon's signed ranks, one-sided; 1 if all are it."""
    known = values[np.isfinite(values)]
    if not len(known) or np.all(known == chance):
        return 1.0
    return float(wilcoxon(known - chance, alternative="greater").pvalue)


def more_hits_than_chance(hits: float, count: int, chance: float) -> float:
    """Return the p-value of `hits` in `count` tries with a chance of `chance` each: binomial, one-sided."""
    return float(binomtest(int(hits), count, chance, alternative="greater").pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for their number (Holm 1979): below 0.05 at once, they are wrong in at most 5 %."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def log_slope(counts: Sequence[int], amplitudes: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the slope of log(mean amplitude) over log(count), with its 95 % interval by bootstrap over images.

    amplitudes [N, counts]. NaN where a mean is not above 0 and has no logarithm.
    """
    drawn = np.random.default_rng(seed).integers(0, len(amplitudes), (RESAMPLES, len(amplitudes)))
    places = np.log(np.asarray(counts, dtype=float))

    def slope(means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.where(means > 0, np.log(np.where(means > 0, means, 1.0)), np.nan)
        centred = places - places.mean()
        return (logs * centred).sum(-1) / (centred**2).sum()

    resampled = slope(amplitudes[drawn].mean(1))
    if not np.isfinite(resampled).all():
        return float(slope(amplitudes.mean(0))), float("nan"), float("nan")
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(slope(amplitudes.mean(0))), float(low), float(high)
