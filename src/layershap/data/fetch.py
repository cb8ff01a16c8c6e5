"""Bringing the images of a source to class folders, each decoded once, with a table of what was refused."""

import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from layershap.data.images import PICTURES, RefusedImageError, pixel_digest, read_image
from layershap.data.sources import SourceImage, class_names
from layershap.data.tables import class_list
from layershap.data.workers import in_order
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest

COLUMNS = ["path", "label", "target", "group", "probability", "split", "width", "height", "digest", "pixels"]
UNEVEN = 10  # times as many images in one class as in another, from which on it is said


@dataclass(frozen=True)
class Fetched:
    """`images`: a row for each usable image (COLUMNS). `refused`: path, label and reason of each other file.

    `no_images`: how many of the refused neither are images nor have an image's suffix (a README beside the pictures).
    """

    images: pd.DataFrame
    refused: pd.DataFrame
    no_images: int = 0

    def metrics(self) -> dict[str, Any]:
        """Return the counts that `dvc metrics` shows."""
        per_class = Counter(self.images["label"])
        duplicates = int(self.images.duplicated("pixels").sum())
        return {
            "images": len(self.images),
            "refused": len(self.refused),
            "refused_that_are_no_images": self.no_images,
            "exact_duplicates": duplicates,
            "pictures_in_two_classes": len(self.in_two_classes()),
            "classes": {label: per_class[label] for label in class_list(self.images)},
        }

    def in_two_classes(self) -> list[list[str]]:
        """Return the paths of every picture (equal pixels) that stands in more than one class."""
        pictures = self.images.groupby("pixels", sort=False)
        return [part["path"].tolist() for _, part in pictures if part["label"].nunique() > 1]

    def warnings(self) -> list[str]:
        """Return what a user should know of these images before a model is trained on them."""
        found = []
        counts = self.images["label"].value_counts()
        if counts.max() > UNEVEN * counts.min():
            most, least = counts.idxmax(), counts.idxmin()
            found.append(
                f"class {most} has {counts[most]} images, class {least} {counts[least]}: accuracy alone says "
                f"little then; add images, set data.per_class, or train.class_weights: true"
            )
        if twice := self.in_two_classes():
            one = " and ".join(twice[0])
            found.append(f"{len(twice)} pictures stand in more than one class, {one} the first; keep each in one")
        return found


class TooManyRefusedError(InputError):
    """The images cannot be used; `refused` is the table of those refused, as in Fetched."""

    def __init__(self, message: str, refused: pd.DataFrame):
        super().__init__(message)
        self.refused = refused


def fetch(images: list[SourceImage], target: Path, max_refused: float, workers: int = 0) -> Fetched:
    """Check every image and copy the usable ones to `target`/<class>/, or <class>/<split>/ where the source has splits.

    A file that neither is an image nor has an image's suffix is listed as refused, but does not count for
    `max_refused`. `workers`: processes that do it beside this one; the same tables and files with any number.

    Raises TooManyRefusedError when more than that share cannot be used or when a class is left empty.
    """
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    no_images = 0
    targets = {label: number for number, label in enumerate(class_names(images))}
    found = in_order(partial(_bring, target), images, workers)
    for image, brought in zip(progress_bar(images, desc="fetch and check", unit="image"), found, strict=True):
        if isinstance(brought, _Refusal):
            refused.append({"path": image.target, "label": image.label, "reason": brought.reason})
            no_images += not brought.image and image.path.suffix.lower() not in PICTURES
            continue
        known = {
            "target": targets[image.label],
            "group": image.group,
            "probability": image.probability,
            "split": image.split,
        }
        rows.append({"path": image.target, "label": image.label, **known, **brought})
    fetched = Fetched(
        pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(refused, columns=["path", "label", "reason"]), no_images
    )
    _check(images, fetched, max_refused)
    for warning in fetched.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    return fetched


@dataclass(frozen=True)
class _Refusal:
    """Why a file cannot be used. `image`: false where its content is no image at all."""

    reason: str
    image: bool


def _bring(target: Path, image: SourceImage) -> dict[str, Any] | _Refusal:
    """Copy an image below `target` and return its width, height and digests."""
    try:
        decoded = read_image(image.path)
    except (RefusedImageError, OSError) as error:
        return _Refusal(str(error), not isinstance(error, RefusedImageError) or error.image)
    copy = target / image.target
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.path, copy)
    size = {"width": decoded.width, "height": decoded.height}
    return {**size, "digest": file_digest(copy), "pixels": pixel_digest(decoded)}


def _check(images: list[SourceImage], fetched: Fetched, max_refused: float) -> None:
    refused = fetched.refused
    examples = "; ".join(f"{row.path}: {row.reason}" for row in refused.head(5).itertuples())
    examples += " ..." if len(refused) > 5 else ""
    count, bad = len(images) - fetched.no_images, len(refused) - fetched.no_images
    if bad > max_refused * count:
        raise TooManyRefusedError(
            f"{bad} of {count} images cannot be used, more than data.max_refused = {max_refused:g}: {examples}", refused
        )
    empty = {image.label for image in images} - set(fetched.images["label"])
    if empty:
        of_empty = refused[refused["label"].isin(empty)].head(5)
        reasons = "; ".join(f"{row.path}: {row.reason}" for row in of_empty.itertuples())
        raise TooManyRefusedError(
            f"no usable image in class {', '.join(sorted(empty))}: {reasons}; fill the folder or remove it", refused
        )
