"""Images that belong together (one patient, panel or day): which they are, and a draw that never parts them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from layershap.workspace.errors import InputError

TRIES = 50  # orders of the units that are tried, of which the most even one counts


def group_names(paths: pd.Series, group: str, folder: Path) -> pd.Series:
    """Return the group of every image of `paths` (<class>/<file>).

    `group`: a regular expression with one group, or the name of a CSV table (columns path, group) in `folder`, which
    is data.path: DVC watches that. Raises InputError naming what has no group.
    """
    if group.endswith(".csv"):
        names = paths.map(_read(group, folder))
        lacking, what = names.isna() | (names == ""), f"stands not in {group}"
    else:
        names = paths.map(lambda path: found.group(1) if (found := re.search(group, path)) else None)
        lacking, what = names.isna() | (names == ""), f"does not match {group}"
    if lacking.all():
        raise InputError(
            f"split.group: {group} fits no image, {paths.iloc[0]} for example; set it to what does, or null"
        )
    if lacking.any():
        example = paths[lacking].iloc[0]
        raise InputError(
            f"split.group: {example} {what} ({int(lacking.sum())} of {len(paths)} images); each needs a "
            f"group, its own where it belongs to no other"
        )
    return names


def _read(name: str, folder: Path) -> dict[str, str]:
    if Path(name).name != name:
        raise InputError(f"split.group: {name}: put it into data.path ({folder}), which DVC watches, and give its name")
    file = folder / name
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"split.group: {file} cannot be read as a table ({error})") from None
    if not {"path", "group"} <= set(table.columns):
        raise InputError(f"split.group: {file} has columns {', '.join(table.columns)}; path and group are needed")
    parted = table.groupby("path")["group"].nunique()
    if (parted > 1).any():
        raise InputError(f"split.group: {file} has two groups for {parted.idxmax()}; keep one")
    return dict(zip(table["path"], table["group"], strict=True))


def units(groups: pd.Series, pictures: pd.Series) -> np.ndarray:
    """Return a number [N] for every image, equal where group or picture (digest of its pixels) is, also by way of
    others.
    """
    group, picture = pd.factorize(groups)[0], pd.factorize(pictures)[0]
    count = group.max() + 1
    size = count + picture.max() + 1
    links = coo_array((np.ones(len(group)), (group, count + picture)), shape=(size, size))
    return connected_components(links, directed=False)[1][group]


def draw(unit: np.ndarray, label: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which images [N] are drawn: whole units, in every class as near to `share` of its images as they allow."""
    counts = pd.crosstab(unit, label)
    table = counts.to_numpy()
    wanted = share * table.sum(0)
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(table), bool), np.inf
    for _ in range(TRIES):
        chosen, taken = np.zeros(len(table), bool), np.zeros(table.shape[1])
        for row in rng.permutation(len(table)):
            if _distance(taken + table[row], wanted) < _distance(taken, wanted):
                chosen[row] = True
                taken += table[row]
        if (distance := _distance(taken, wanted)) < least:
            best, least = chosen, distance
    return np.isin(unit, counts.index[best])


def _distance(taken: np.ndarray, wanted: np.ndarray) -> float:
    return float((((taken - wanted) / wanted) ** 2).sum())
