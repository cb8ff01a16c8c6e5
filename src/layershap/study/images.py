"""A study's numbers image by image, kept as they come, so that an interrupted study goes on where it was."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from layershap.data.tables import Dataset, write_table
from layershap.explain import choose_references
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError


def draw(dataset: Dataset, split: str, count: int, seed: int, setting: str) -> np.ndarray:
    """Return `count` rows of a split, class by class in turn; InputError naming `setting` where there are fewer."""
    rows = dataset.rows(split)
    if count > len(rows):
        raise InputError(f"{setting} asks for {count} images of the {split} split, which has {len(rows)}; ask for less")
    return rows[choose_references(dataset.targets[rows].tolist(), count, seed)]


def draw_of_each_class(dataset: Dataset, split: str, count: int, seed: int) -> np.ndarray:
    """Return `count` rows of each class of a split: of every class as many as the smallest has, if that has fewer."""
    rows = dataset.rows(split)
    classes, sizes = np.unique(dataset.targets[rows], return_counts=True)
    return rows[choose_references(dataset.targets[rows].tolist(), len(classes) * min(count, int(sizes.min())), seed)]


def each_image(
    names: Sequence[str], work: Path, numbers: Callable[[int], Iterable[tuple[object, ...]]], columns: list[str]
) -> pd.DataFrame:
    """Return a table of `columns` with the rows that `numbers` gives for each image; a column `image` comes first.

    What `work` holds from an earlier start is taken from there: a folder for this very study (see fingerprint.py).
    """
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"{position:05d}.csv" for position in range(len(names))]
    missing = [position for position, file in enumerate(files) if not file.exists()]
    done = len(names) - len(missing)
    if done:
        print(f"{done} of {len(names)} images are done already")
    with progress_bar(total=len(names), initial=done, desc=work.parent.name, unit="image") as progress:
        for position in missing:
            rows = pd.DataFrame(list(numbers(position)), columns=columns)
            rows.insert(0, "image", names[position])
            write_table(files[position], rows)
            progress.update()
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
