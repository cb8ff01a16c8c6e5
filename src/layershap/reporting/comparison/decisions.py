"""Test images that two models decide differently."""

from typing import Any

import numpy as np
import pandas as pd

MOST_PAIRS = 12  # kinds of decision that are listed where there are many classes
MOST_CLASSES = 8  # of a matrix


def changed(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return the images lost (right in the first, wrong in the second), gained, and wrong in both ways.

    Each with path (in either), pixels, label, and of both the predicted class and its probability; first those whose
    true class's probability changed most. The tables: the same image in the same row.
    """
    found: dict[str, list[dict[str, Any]]] = {"lost": [], "gained": [], "other": []}
    for before, after in zip(first.to_dict("records"), second.to_dict("records"), strict=True):
        if before["predicted"] == after["predicted"]:
            continue
        kind = "lost" if before["correct"] else "gained" if after["correct"] else "other"
        own = f"p_{before['label']}"
        found[kind].append(
            {
                "paths": [before["path"], after["path"]],
                "pixels": before["pixels"],
                "label": before["label"],
                "predicted": [before["predicted"], after["predicted"]],
                "probability": [before[f"p_{before['predicted']}"], after[f"p_{after['predicted']}"]],
                "change": abs(after[own] - before[own]),
            }
        )
    return {kind: sorted(rows, key=lambda row: (-row["change"], row["paths"])) for kind, rows in found.items()}


def shown(rows: dict[str, list[dict[str, Any]]], most: int) -> dict[str, list[dict[str, Any]]]:
    """Return at most `most` of the images lost and gained, as many of each as there are, or half of `most`."""
    lost, gained = rows["lost"], rows["gained"]
    half = most // 2
    left = max(half, most - len(gained))
    return {"lost": lost[:left], "gained": gained[: most - min(len(lost), left)]}


def confusion(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Return how many images of each class are taken for each: classes, and rows with the counts of both.

    matrix: rows [true class] of (first, second) by predicted class; None with more than MOST_CLASSES classes. pairs:
    (true, predicted, first, second) for the wrong decisions, those whose number changed most first, at most MOST_PAIRS.
    """
    classes = [name[2:] for name in first if name.startswith("p_")]
    counts = [
        pd.crosstab(table["label"], table["predicted"]).reindex(index=classes, columns=classes, fill_value=0).to_numpy()
        for table in (first, second)
    ]
    matrix = None
    if len(classes) <= MOST_CLASSES:
        matrix = [[(int(counts[0][row, column]), int(counts[1][row, column])) for column in range(len(classes))]
                  for row in range(len(classes))]  # fmt: skip
    change = np.abs(counts[1] - counts[0])
    np.fill_diagonal(change, 0)
    order = [int(place) for place in np.argsort(-change, axis=None, kind="stable")[:MOST_PAIRS] if change.flat[place]]
    places = [divmod(place, len(classes)) for place in order]
    pairs = [(classes[row], classes[column], int(counts[0][row, column]), int(counts[1][row, column]))
             for row, column in places]  # fmt: skip
    return {"classes": classes, "matrix": matrix, "pairs": pairs}
