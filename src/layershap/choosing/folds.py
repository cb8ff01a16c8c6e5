"""Numbers over k folds: the mean and its interval, and all decisions together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from layershap.judging.evaluation import wilson_interval
from layershap.judging.intervals import t_interval


def summarise(evaluated: Sequence[dict[str, Any]], predictions: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of folds.json from metrics/evaluate.json of each fold and the decisions on all images."""
    accuracy = [float(numbers["accuracy"]) for numbers in evaluated]
    low, high = t_interval(accuracy)
    right, count = int(predictions["correct"].sum()), len(predictions)
    pooled_low, pooled_high = wilson_interval(right, count)
    return {
        "folds": len(accuracy),
        "images": count,
        "accuracy": accuracy,
        "mean": float(np.mean(accuracy)),
        "mean_low": low,
        "mean_high": high,
        "pooled": right / count,
        "pooled_low": pooled_low,
        "pooled_high": pooled_high,
        "balanced_accuracy": [float(numbers["balanced_accuracy"]) for numbers in evaluated],
    }


def as_table(rows: pd.DataFrame, summary: dict[str, Any]) -> Table:
    """Return what the terminal shows: a row for each fold, and below it the mean and all images together."""
    table = Table()
    for name in ("fold", "images", "accuracy", "95 % interval", "balanced", "best epoch"):
        table.add_column(name, justify="right")
    for row in rows.itertuples():
        interval = f"{row.accuracy_low:.4f} to {row.accuracy_high:.4f}"
        numbers = (f"{row.accuracy:.4f}", interval, f"{row.balanced_accuracy:.4f}", str(row.best_epoch))
        table.add_row(str(row.fold), str(row.images), *numbers)
    table.add_section()
    mean = f"{summary['mean_low']:.4f} to {summary['mean_high']:.4f}"
    table.add_row("mean", "", f"{summary['mean']:.4f}", mean, f"{np.mean(summary['balanced_accuracy']):.4f}", "")
    pooled = f"{summary['pooled_low']:.4f} to {summary['pooled_high']:.4f}"
    table.add_row("pooled", str(summary["images"]), f"{summary['pooled']:.4f}", pooled, "", "")
    return table
