"""Numbers about predictions on the test images. Pure functions of arrays; libraries do the statistics."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn import metrics

CALIBRATION_BINS = 10


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share `correct` / `count`."""
    interval = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def evaluate_predictions(targets: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Return accuracy with its interval and the other metrics of `targets` [N] and `probabilities` [N, classes].

    f1 and roc_auc: of class 1 where there are two, else the mean over classes (macro; one against the rest).
    expected_calibration_error: mean |accuracy - confidence| over ten bins of confidence, weighed by their images.
    """
    predicted = probabilities.argmax(1)
    count, correct = len(targets), int((predicted == targets).sum())
    low, high = wilson_interval(correct, count)
    numbers = list(range(len(classes)))
    binary = len(classes) == 2
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets, predicted, labels=numbers, zero_division=0.0
    )
    if binary:
        roc_auc = metrics.roc_auc_score(targets, probabilities[:, 1])
    else:
        roc_auc = metrics.roc_auc_score(targets, probabilities, multi_class="ovr", labels=numbers)
    reliability = reliability_curve(targets, probabilities)
    gaps = (reliability["accuracy"] - reliability["confidence"]).abs() * reliability["images"]
    return {
        "accuracy": correct / count,
        "accuracy_low": low,
        "accuracy_high": high,
        "n_test": count,
        "balanced_accuracy": float(recall.mean()),
        "f1": float(f1[1] if binary else f1.mean()),
        "roc_auc": float(roc_auc),
        "log_loss": float(metrics.log_loss(targets, probabilities, labels=numbers)),
        "expected_calibration_error": float(gaps.sum() / count),
        "per_class": {
            name: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "images": int(support[number]),
            }
            for number, name in enumerate(classes)
        },
    }


def reliability_curve(targets: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return confidence (mean probability of the predicted class), accuracy and images of each filled bin."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == targets
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    table = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": right.astype(float)})
    grouped = table.groupby("bin")
    return grouped.mean().assign(images=grouped.size()).reset_index(drop=True)
