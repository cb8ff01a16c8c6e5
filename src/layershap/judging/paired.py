"""Two models on the same test images: what they decide differently, and how far their numbers differ by chance."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layershap.judging.evaluation import CALIBRATION_BINS
from layershap.judging.statistics import mcnemar

DRAWS = 2000
LEAST_PROBABILITY = 5e-7  # the table of predictions has six digits
MOST_RANKED = 200_000  # test images times classes up to which the area under the ROC curve has an interval
CELLS = 2_000_000  # of the weights that are in memory at a time


@dataclass(frozen=True)
class Paired:
    """lost: images that the first model had right and the second has wrong; gained: the other way round.

    p_value: McNemar's exact test, two-sided. intervals: by name as in metrics/evaluate.json, the 95 % interval of the
    second's number minus the first's, by bootstrap over the test images (2,000 draws, percentiles).
    """

    images: int
    lost: int
    gained: int
    p_value: float
    intervals: dict[str, tuple[float, float]]


def aligned(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return both tables of predictions with the same image in the same row; None where the test images differ.

    An image is known by its pixels and its label; the same one several times counts as often. None, too, where the
    classes differ.
    """
    if {name for name in first if name.startswith("p_")} != {name for name in second if name.startswith("p_")}:
        return None
    ordered = []
    for table in (first, second):
        table = table.sort_values(["pixels", "label", "path"], kind="stable").reset_index(drop=True)
        ordered.append(table)
    one, two = ordered
    if len(one) != len(two) or not (one[["pixels", "label"]] == two[["pixels", "label"]]).to_numpy().all():
        return None
    return one, two


def paired(first: pd.DataFrame, second: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> Paired:
    """Compare two tables of predictions that `aligned` made."""
    right, after = first["correct"].to_numpy() == 1, second["correct"].to_numpy() == 1
    lost, gained = int((right & ~after).sum()), int((~right & after).sum())
    return Paired(len(first), lost, gained, two_sided(lost, gained), intervals(first, second, draws, seed))


def two_sided(lost: int, gained: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: twice the smaller tail, at most 1."""
    return min(1.0, 2 * mcnemar(max(lost, gained), min(lost, gained)))


def intervals(first: pd.DataFrame, second: pd.DataFrame, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each number's difference, second minus first; the same images are drawn for both.

    A draw in which a number is not defined (no image of a class) is left out for that number.
    """
    found: dict[str, list[np.ndarray]] = {}
    for weights in _weights(len(first), draws, seed):
        before, after = measures(first, weights), measures(second, weights)
        for name in before:
            found.setdefault(name, []).append(after[name] - before[name])
    result = {}
    for name, parts in found.items():
        known = np.concatenate(parts)
        known = known[np.isfinite(known)]
        if len(known):
            low, high = np.quantile(known, [0.025, 0.975])
            result[name] = (float(low), float(high))
    return result


def _weights(count: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each image is drawn [some draws, count]; all draws together do not depend on the pieces."""
    generator = np.random.default_rng(seed)
    size = max(CELLS // count, 1)
    for start in range(0, draws, size):
        pieces = min(size, draws - start)
        yield generator.multinomial(count, np.full(count, 1 / count), pieces).astype(np.float64)


def measures(table: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers of metrics/evaluate.json for each row of `weights` [D, N], how often each image counts: [D].

    The definitions of judging.evaluation, for many draws at once.
    """
    columns = [name for name in table if name.startswith("p_")]
    classes = [name[2:] for name in columns]
    probabilities = table[columns].to_numpy(np.float64)
    label, predicted = (
        (table[name].to_numpy()[:, None] == np.array(classes, dtype=object)).astype(np.float64)
        for name in ("label", "predicted")
    )  # [N, classes]
    right = (label * predicted).sum(1)
    count = weights.sum(1)
    support, taken, hits = weights @ label, weights @ predicted, weights @ (label * predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / support  # NaN for a class without images
        precision = np.where(taken > 0, hits / taken, 0.0)
        f1 = np.where(support + taken > 0, 2 * hits / (support + taken), 0.0)
    own = np.clip((probabilities * label).sum(1), LEAST_PROBABILITY, 1.0)
    confidence = probabilities.max(1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = (right - confidence)[:, None] * (bins[:, None] == np.arange(CALIBRATION_BINS))
    known = np.maximum(np.isfinite(recall).sum(1), 1)
    found = {
        "accuracy": weights @ right / count,
        "balanced_accuracy": np.nansum(recall, 1) / known,
        "f1": f1[:, 1] if len(classes) == 2 else f1.mean(1),
        "log_loss": weights @ -np.log(own) / count,
        "expected_calibration_error": np.abs(weights @ gaps).sum(1) / count,
    }
    if len(table) * len(classes) <= MOST_RANKED:
        ranked = [1] if len(classes) == 2 else range(len(classes))
        areas = [area_under_curve(label[:, number] == 1, probabilities[:, number], weights) for number in ranked]
        found["roc_auc"] = np.mean(areas, axis=0)
    for number, name in enumerate(classes):
        for measure, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            found[f"per_class/{name}/{measure}"] = values[:, number]
    return found


def area_under_curve(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve [D] for each row of `weights` [D, N]: how often a positive image stands above
    another one, ties by half. `positive` [N] truths, `score` [N]. NaN where one kind is not drawn."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    lower = np.cumsum(below, 1) - below
    with np.errstate(invalid="ignore", divide="ignore"):
        area: np.ndarray = (above * (lower + below / 2)).sum(1) / (above.sum(1) * below.sum(1))
    return area
