"""k folds of the images, each the test images of one of k runs: stratified, seeded, what belongs together in one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from layershap.data.groups import group_names, units
from layershap.data.strata import strata
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError


def fold_numbers(images: pd.DataFrame, split: settings.Split, folder: Path = Path()) -> np.ndarray:
    """Return the fold [N], from 0, of every image of the table of fetch; the source's own splits are not asked.

    Within each class and group pictures (equal pixels count as one) are dealt out evenly; with `split.group`, whole
    groups, as evenly in each class as they allow. `folder`: data.path, where a table of groups lies. Raises InputError
    for a class with fewer pictures or groups than folds.
    """
    assert split.folds is not None
    if split.group:
        unit = units(group_names(images["path"], split.group, folder), images["pixels"])
        _refuse_small(images["label"], unit, split.folds, "groups by split.group")
        dealt = StratifiedGroupKFold(split.folds, shuffle=True, random_state=split.seed).split(
            unit, images["label"], unit
        )
        return _numbers(dealt, len(images))
    _refuse_small(images["label"], images["pixels"].to_numpy(), split.folds, "pictures")
    pictures = images.drop_duplicates("pixels")
    dealt = StratifiedKFold(split.folds, shuffle=True, random_state=split.seed).split(
        pictures, strata(pictures, split.folds, split.folds)
    )
    numbers = pd.Series(_numbers(dealt, len(pictures)), index=pictures["pixels"])
    return images["pixels"].map(numbers).to_numpy()


def _numbers(dealt: Iterable[tuple[Any, np.ndarray]], count: int) -> np.ndarray:
    numbers = np.full(count, -1)
    for fold, (_, places) in enumerate(dealt):
        numbers[places] = fold
    return numbers


def _refuse_small(labels: pd.Series, unit: np.ndarray, folds: int, what: str) -> None:
    counts = pd.Series(unit, index=labels.index).groupby(labels).nunique()
    fewest = int(counts.min())
    if fewest < folds:
        way_out = f"set it to {fewest} or less, or add images" if fewest > 1 else "add images"
        raise InputError(
            f"class {counts.idxmin()}: {fewest} {what} cannot be divided into split.folds = {folds}; {way_out}"
        )
