"""The statistics of two models on the same test images."""

import math


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact one-sided p-value of McNemar's test that the candidate is worse.

    `lost`: images the baseline had right and the candidate has wrong; `gained`: the other way round. Under equal
    models each of them is a fair coin: P(Binomial(lost + gained, 1/2) >= lost).
    """
    return _at_least(lost, lost + gained, 0.5)


def power(images: int, discordant: int, drop: float, max_drop: float, significance: float) -> float:
    """Return the probability that a model worse by `drop` fails for it.

    `discordant`: images on which two such models disagree, as many as were seen (at least as many as the drop needs).
    Then the number of images lost is binomial; summed over the numbers that decide() calls a FAIL.
    """
    trials = max(discordant, math.ceil(images * drop - 1e-9))
    if not trials:
        return 0.0
    share = min(max((trials / images + drop) / (2 * trials / images), 0.0), 1.0)
    # both conditions hold from some number of lost images on
    low, high = 0, trials + 1
    while low < high:
        lost = (low + high) // 2
        if exceeds((2 * lost - trials) / images, max_drop) and mcnemar(lost, trials - lost) < significance:
            high = lost
        else:
            low = lost + 1
    return _at_least(low, trials, share)


def exceeds(value: float, limit: float) -> bool:
    """Return whether `value` is larger than `limit` by more than the rounding of decimal fractions."""
    return value > limit + 1e-9


def _at_least(count: int, trials: int, share: float) -> float:
    """Return P(Binomial(trials, share) >= count)."""
    if count <= 0:
        return 1.0
    if count > trials:
        return 0.0
    from scipy.special import bdtrc  # a quarter of a second, when it is needed

    return float(bdtrc(count - 1, trials, share))
