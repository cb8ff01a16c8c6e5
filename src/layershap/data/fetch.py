"""Bringing the images of a source to class folders, each decoded once, with a table of what was refused."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layershap.data.images import RefusedImageError, pixel_digest, read_image
from layershap.data.sources import SourceImage, class_names
from layershap.data.tables import class_list
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest

COLUMNS = ["path", "label", "target", "group", "probability", "split", "width", "height", "digest", "pixels"]


@dataclass(frozen=True)
class Fetched:
    """`images`: a row for each usable image (COLUMNS). `refused`: path, label and reason of each other one."""

    images: pd.DataFrame
    refused: pd.DataFrame

    def metrics(self) -> dict[str, Any]:
        """Return the counts that `dvc metrics` shows."""
        per_class = Counter(self.images["label"])
        duplicates = int(self.images.duplicated("pixels").sum())
        return {
            "images": len(self.images),
            "refused": len(self.refused),
            "exact_duplicates": duplicates,
            "classes": {label: per_class[label] for label in class_list(self.images)},
        }


def fetch(images: list[SourceImage], target: Path, max_refused: float) -> Fetched:
    """Check every image and copy the usable ones to `target`/<class>/, or <class>/<split>/ where the source has splits.

    Raises InputError when more than the share `max_refused` cannot be used, when a class is left empty, or when two
    images would have the same name.
    """
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    taken: dict[str, Path] = {}
    targets = {label: number for number, label in enumerate(class_names(images))}
    for image in progress_bar(images, desc="fetch and check", unit="image"):
        name = Path(image.label, image.split, image.path.name).as_posix()
        if name in taken:
            raise InputError(f"{image.path} and {taken[name]} have the same name within a class; rename one")
        taken[name] = image.path
        try:
            decoded = read_image(image.path)
        except (RefusedImageError, OSError) as error:
            refused.append({"path": name, "label": image.label, "reason": str(error)})
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.path, copy)
        size = {"width": decoded.width, "height": decoded.height}
        digests = {"digest": file_digest(copy), "pixels": pixel_digest(decoded)}
        known = {
            "target": targets[image.label],
            "group": image.group,
            "probability": image.probability,
            "split": image.split,
        }
        rows.append({"path": name, "label": image.label, **known, **size, **digests})
    fetched = Fetched(pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(refused, columns=["path", "label", "reason"]))
    _check(images, fetched, max_refused)
    return fetched


def _check(images: list[SourceImage], fetched: Fetched, max_refused: float) -> None:
    refused = fetched.refused
    examples = "; ".join(f"{row.path}: {row.reason}" for row in refused.head(5).itertuples())
    if len(refused) > max_refused * len(images):
        raise InputError(
            f"{len(refused)} of {len(images)} images cannot be used, more than data.max_refused = {max_refused:g}: "
            f"{examples}{' ...' if len(refused) > 5 else ''}"
        )
    empty = {image.label for image in images} - set(fetched.images["label"])
    if empty:
        raise InputError(f"no usable image is left in class {', '.join(sorted(empty))}: {examples}")
