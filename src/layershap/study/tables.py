"""From numbers per image to a table per layer, with intervals over images."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from layershap.study.statistics import above_chance, holm, mean_interval, more_hits_than_chance

COLUMNS = ["layer", "name", "images", "mean", "low", "high"]


def by_layer(rows: pd.DataFrame, keys: list[str], layers: Mapping[str, int]) -> pd.DataFrame:
    """Return mean and 95 % interval over images of every measure at every layer.

    rows: image, name (of a layer), value, and `keys`, which name the measure. `layers`: numbers by name.
    """
    found = []
    for key, part in rows.groupby([*keys, "name"], sort=False):
        mean, low, high = mean_interval(part["value"].to_numpy(float))
        found.append([*key[:-1], layers[key[-1]], key[-1], int(part["value"].notna().sum()), mean, low, high])
    return pd.DataFrame(found, columns=[*keys, *COLUMNS])


def add_chance(table: pd.DataFrame, rows: pd.DataFrame, candidates: int) -> pd.DataFrame:
    """Add the column `p_holm`, corrected over layers, of AUCs and of top-1 hits among `candidates`; else empty.

    AUCs are evenly spread around 0.5 by chance: Wilcoxon's signed ranks. Hits: binomial.
    """
    values = pd.Series(np.nan, index=table.index)
    for (experiment, measure), part in table.groupby(["experiment", "measure"], sort=False):
        if not measure.startswith(("auc", "top 1")):
            continue
        tests = []
        for name in part["name"]:
            one = (rows["experiment"] == experiment) & (rows["measure"] == measure) & (rows["name"] == name)
            found = rows.loc[one, "value"].to_numpy(float)
            if measure.startswith("auc"):
                tests.append(above_chance(found, 0.5))
            else:
                tests.append(more_hits_than_chance(found.sum(), len(found), 1 / candidates))
        values[part.index] = holm(tests)
    return table.assign(p_holm=values)
