"""Within which images are drawn, so that each part has its share of every class and group."""

import pandas as pd


def strata(pictures: pd.DataFrame, fewest: float, left_over: int) -> pd.Series:
    """Return the class and group of each picture: its class alone where fewer than `fewest` have both.

    A class of which fewer than `left_over` pictures are left so is not divided by group at all.
    """
    found = pictures["label"] + "/" + pictures["group"]
    rare = found.map(found.value_counts()) < fewest
    found = found.where(~rare, pictures["label"])
    small = set(found[rare & (found.map(found.value_counts()) < left_over)])
    return found.where(~pictures["label"].isin(small), pictures["label"])
