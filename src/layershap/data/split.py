"""Dividing images into train, val and test: stratified, seeded, the same picture never in two of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from layershap.data.folds import fold_numbers
from layershap.data.groups import draw, group_names, units
from layershap.data.strata import strata
from layershap.data.tables import SPLITS, natural
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError


def split_images(images: pd.DataFrame, split: settings.Split, folder: Path = Path()) -> pd.DataFrame:
    """Return path, label and split of every image, in the order of `images` (the table of fetch).

    The source's own splits are kept; val is cut from train where it brings none. Otherwise pictures (equal pixels
    count as one) are drawn at random within each class and group. With `split.group`, whole groups are drawn instead.
    With `split.fold`, that one of `split.folds` is the test set, whatever the source says, and val is cut from the
    others. `folder`: data.path, where a table of groups lies. Raises InputError for a class with too few images.
    """
    if split.fold is not None:
        images = images.assign(split=np.where(fold_numbers(images, split, folder) == split.fold, "test", "train"))
    result = images[["path", "label"]].assign(split=images["split"])
    own = bool((images["split"] != "").any())
    together = group_names(images["path"], split.group, folder) if split.group else None
    if own and together is not None:
        _refuse_parted(together, result["split"])
    if not own:
        result["split"] = "train"
        _move(images, result, split, "test", together)
    if not (result["split"] == "val").any():
        _move(images, result, split, "val", together)
    for label in sorted(set(result["label"]), key=natural):
        missing = [part for part in SPLITS if not ((result["label"] == label) & (result["split"] == part)).any()]
        if missing:
            found = int((images["label"] == label).sum())
            what = f"too few images ({found}), none is left for {', '.join(missing)}"
            raise InputError(f"class {label}: {what}; {_enough(split, own, together is not None)}")
    return result


def enough(split: settings.Split, own: bool) -> int:
    """Return how many pictures of a class are surely enough for one in each split; `own`: of its train images."""
    count = 2
    while True:
        rest = count if own else count - math.ceil(count * split.test - 1e-9)
        if (own or count * split.test >= 1 - 1e-9) and rest * split.val >= 1 - 1e-9 and rest - rest * split.val >= 1:
            return count
        count += 1


def _enough(split: settings.Split, own: bool, grouped: bool) -> str:
    if grouped:
        return "split.group keeps images together: three groups of each class at least are needed; add images or groups"
    of, shares = (
        ("train images of a class", "") if own else ("pictures of a class", f"split.test = {split.test:g} and ")
    )
    return f"{enough(split, own)} {of} are enough for {shares}split.val = {split.val:g}; add images or raise the shares"


def _refuse_parted(together: pd.Series, parts: pd.Series) -> None:
    parted = parts.groupby(together).nunique()
    if (parted > 1).any():
        raise InputError(
            f"split.group: {int((parted > 1).sum())} groups stand in more than one of the source's own splits, "
            f"{parted.idxmax()} for example; move its images into one, or set split.group: null"
        )


def _move(images: pd.DataFrame, result: pd.DataFrame, split: settings.Split, part: str, together: Any) -> None:
    """Move the share of `part` of the training pictures to it."""
    share = split.test if part == "test" else split.val
    pool = images[result["split"] == "train"]
    if together is not None:
        moving = draw(units(together[pool.index], pool["pixels"]), pool["label"].to_numpy(), share, split.seed)
        result.loc[pool.index[moving], "split"] = part
        return
    pictures = pool.drop_duplicates("pixels")
    among = strata(pictures, 2 / min(share, 1 - share), 2)
    try:
        _, moved = train_test_split(
            pictures["pixels"].to_numpy(), test_size=share, stratify=among.to_numpy(), random_state=split.seed
        )
    except ValueError:
        own = bool((images["split"] != "").any())
        fewest = pictures["label"].value_counts().idxmin()
        counts = images.drop_duplicates("pixels")["label"].value_counts()
        raise InputError(
            f"class {fewest}: too few images ({counts[fewest]}) to cut {share:g} of them for {part}; "
            f"{_enough(split, own, False)}"
        ) from None
    result.loc[pool.index[pool["pixels"].isin(set(moved))], "split"] = part


def split_metrics(images: pd.DataFrame, result: pd.DataFrame) -> dict[str, Any]:
    """Return the counts by split and class, and how many pictures stand in more than one split."""
    shared = result.assign(pixels=images["pixels"]).groupby("pixels")["split"].nunique()
    counts = result.groupby(["split", "label"]).size()
    return {
        "pictures_in_two_splits": int((shared > 1).sum()),
        **{
            part: {label: int(counts.get((part, label), 0)) for label in sorted(set(result["label"]), key=natural)}
            for part in SPLITS
        },
    }
