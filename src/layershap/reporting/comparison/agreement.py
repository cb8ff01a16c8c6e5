"""How alike the heatmaps of two models are on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layershap.reporting.comparison.layers import Match
from layershap.reporting.explained.stored import StoredMaps
from layershap.workspace.compared.side import MAPS


@dataclass(frozen=True)
class Agreement:
    """Of one pair of layers, by image [N]: correlation of the two maps, and the share of places that differ by more
    than both errors explain. NaN where it is not known: other sizes of map, a constant map, one reference alone."""

    correlation: np.ndarray
    beyond: np.ndarray


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two maps of one shape over their places; NaN where either is constant."""
    one, two = (values.ravel().astype(np.float64) - values.mean(dtype=np.float64) for values in (first, second))
    sizes = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / sizes if sizes > 0 else float("nan")


def beyond(first: np.ndarray, second: np.ndarray, error: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Return where |first - second| > 2 sqrt(error² + other²) [H, W]; None where an error is not known.

    `error`, `other`: the standard errors of the two maps, in their unit.
    """
    both = np.hypot(error.astype(np.float64), other.astype(np.float64))
    if not np.isfinite(both).all():
        return None
    return np.abs(first.astype(np.float64) - second) > 2 * both


def agreement(match: Match, first: StoredMaps, second: StoredMaps, names: Sequence[tuple[str, str]]) -> Agreement:
    """Compare a pair of layers on all common images, one at a time. `names`: of each image, in either's images.csv."""
    correlations, shares = np.full(len(names), np.nan), np.full(len(names), np.nan)
    if match.first is None or match.second is None:
        return Agreement(correlations, shares)
    maps, errors = (first.maps(match.first[0], kind=kind) for kind in MAPS)
    others, other_errors = (second.maps(match.second[0], kind=kind) for kind in MAPS)
    if maps.shape[1:] != others.shape[1:]:
        return Agreement(correlations, shares)
    places, other_places = ({name: place for place, name in enumerate(side.names)} for side in (first, second))
    for place, (one, two) in enumerate(names):
        at, beside = places[one], other_places[two]
        correlations[place] = correlation(maps[at], others[beside])
        where = beyond(maps[at], others[beside], errors[at], other_errors[beside])
        if where is not None:
            shares[place] = where.mean()
    return Agreement(correlations, shares)


def maps_of(
    match: Match, first: StoredMaps, second: StoredMaps, one: str, two: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Return both maps and both errors [H, W] of an image; None where a layer is missing or the shapes differ."""
    if match.first is None or match.second is None:
        return None
    a, b = first.maps(match.first[0], [one])[0], second.maps(match.second[0], [two])[0]
    if a.shape != b.shape:
        return None
    error = first.maps(match.first[0], [one], "standard_error")[0]
    return a, b, error, second.maps(match.second[0], [two], "standard_error")[0]


def mean_known(values: np.ndarray) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
