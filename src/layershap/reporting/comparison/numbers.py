"""The numbers of two models beside each other."""

from collections.abc import Mapping
from typing import Any

from layershap.workspace.compared.side import Side

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "roc_auc": "area under the ROC curve",
    "log_loss": "log loss (less is better)",
    "expected_calibration_error": "calibration error (less is better)",
}
LEFT = ("accuracy_low", "accuracy_high", "n_test", "cache_difference")  # said elsewhere, or of no use here
PER_CLASS = "per_class/"
MOST_CLASSES = 12


def measured(first: Side, second: Side, intervals: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Return a row for each number of metrics/evaluate.json: name, both values, their difference, and its interval.

    Of each class where there are not more than MOST_CLASSES. None for what either does not have; sure: whether the
    interval leaves out 0.
    """
    known = list(dict.fromkeys([*first.numbers, *second.numbers]))
    plain = [name for name in NAMES if name in known]
    plain += [name for name in known if "/" not in name and name not in NAMES and name not in LEFT]
    classes = list(dict.fromkeys(name.split("/", 1)[1].rpartition("/")[0] for name in known if _of_class(name)))
    wanted = plain + [name for name in known if _of_class(name) and len(classes) <= MOST_CLASSES]
    return [_row(name, first.numbers.get(name), second.numbers.get(name), intervals.get(name)) for name in wanted]


def others(first: Side, second: Side) -> list[dict[str, Any]]:
    """Return the same of training and explanation, without intervals, and of those that differ alone."""
    known = dict.fromkeys([*first.numbers, *second.numbers])
    rows = [
        _row(name, first.numbers.get(name), second.numbers.get(name), None)
        for name in known
        if name.startswith(("train/", "explain/"))
    ]
    return [row for row in rows if row["first"] != row["second"]]


def settings(first: Side, second: Side) -> list[tuple[str, str, str]]:
    """Return name and both values of each setting that differs; – for one that either does not know."""
    names = dict.fromkeys([*first.settings, *second.settings])
    rows = [(name, first.settings.get(name, "–"), second.settings.get(name, "–")) for name in names]
    return sorted(row for row in rows if row[1] != row[2])


def _of_class(name: str) -> bool:
    return name.startswith(PER_CLASS) and not name.endswith("/images")


def _row(name: str, one: float | None, two: float | None, interval: tuple[float, float] | None) -> dict[str, Any]:
    shown = NAMES.get(name)
    if shown is None:
        shown = name.removeprefix(PER_CLASS).replace("/", ": ").replace("_", " ") if "/" in name else name
        if name.startswith(PER_CLASS):
            label, _, measure = name.removeprefix(PER_CLASS).rpartition("/")
            shown = f"{label}: {'F1' if measure == 'f1' else measure}"
    return {
        "name": shown,
        "key": name,
        "first": one,
        "second": two,
        "difference": None if one is None or two is None else two - one,
        "interval": interval,
        "sure": interval is not None and (interval[0] > 0 or interval[1] < 0),
    }
