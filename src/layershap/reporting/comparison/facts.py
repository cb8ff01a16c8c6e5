"""All that is said of two models in words and numbers, once: the page draws pictures beside it, the Markdown none."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from layershap import __version__
from layershap.data.tables import read_table
from layershap.reporting.comparison import decisions, numbers
from layershap.workspace import paths
from layershap.workspace.compared.side import Side

KINDS = {
    "workspace": "the files here",
    "run": "an MLflow run",
    "model": "a registered model",
    "experiment": "a DVC experiment",
    "revision": "a git revision",
}


def facts(
    first: Side,
    second: Side,
    tables: tuple[pd.DataFrame, pd.DataFrame] | None,
    statistics: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what the templates of a comparison show.

    `tables`: of predictions, the same image in the same row; None where the test images differ. `statistics`: the
    fields of judging.paired.Paired, with `tables` alone.
    """
    return {
        "version": __version__,
        "kinds": KINDS,
        "sides": [("A", first), ("B", second)],
        "first": first,
        "second": second,
        "statistics": statistics,
        "settings": numbers.settings(first, second),
        "measured": numbers.measured(first, second, (statistics or {}).get("intervals", {})),
        "others": numbers.others(first, second),
        "lacking": [*first.lacking, *second.lacking],
        "other_baseline": other_baseline(first, second),
        "changed": None if tables is None else decisions.changed(*tables),
        "confusion": None if tables is None else decisions.confusion(*tables),
    }


def predictions(side: Side) -> pd.DataFrame | None:
    """Return the side's table of predictions; None where it has none."""
    place = side.file(paths.PREDICTIONS)
    return None if place is None else read_table(place)


def other_baseline(first: Side, second: Side) -> bool:
    """Return whether the gates of the two compare with other baselines. An MLflow run does not know its own: False."""
    if any(side.kind in ("run", "model") for side in (first, second)):
        return False
    places = [side.file(paths.BASELINE) for side in (first, second)]
    one, two = (b"" if place is None else place.read_bytes() for place in places)
    return one != two
