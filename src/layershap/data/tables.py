"""The CSV tables of images, splits and predictions, and the data set that the later stages read from them."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from layershap.workspace import paths
from layershap.workspace.files import replacing

SPLITS = ("train", "val", "test")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table; empty cells of text columns stay empty strings."""
    text = dict.fromkeys(("path", "label", "group", "split", "predicted", "digest", "pixels"), str)
    return pd.read_csv(path, keep_default_na=False, na_values={"probability": [""]}, dtype=text)


def natural(name: str) -> tuple[list[str | int], str]:
    """Return a key by which names sort as people count: 1, 2, 10."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def class_list(images: pd.DataFrame) -> list[str]:
    """Return the class names by number from a table of images."""
    return images.drop_duplicates("target").sort_values("target")["label"].tolist()


@dataclass(frozen=True)
class Dataset:
    """All images in the order of data/images.csv, which is also the order of the feature cache."""

    images: pd.DataFrame

    @classmethod
    def read(cls) -> "Dataset":
        """Read what stage fetch wrote."""
        return cls(read_table(paths.IMAGES_TABLE))

    @cached_property
    def classes(self) -> list[str]:
        """Class names by number."""
        return class_list(self.images)

    @cached_property
    def paths(self) -> list[Path]:
        """Files of the images."""
        return [paths.RAW / path for path in self.images["path"]]

    @property
    def targets(self) -> np.ndarray:
        """Class numbers [N]."""
        return self.images["target"].to_numpy()

    def soft_targets(self, soft: bool) -> np.ndarray:
        """Return class probabilities [N, classes]: the source's own where `soft` and known, else 1 for the class."""
        result = np.eye(len(self.classes))[self.targets]
        probability = self.images["probability"].to_numpy(float)
        if soft and len(self.classes) == 2:
            known = np.isfinite(probability)
            result[known] = np.stack([1 - probability[known], probability[known]], axis=1)
        return result

    def rows(self, split: str) -> np.ndarray:
        """Return the positions of the images of a split, from data/split.csv."""
        table = read_table(paths.SPLIT_TABLE)
        return np.flatnonzero((table["split"] == split).to_numpy())
