"""Bringing the masks of data.masks, or the source's own, to data/masks: each found by its image's name and checked."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from layershap.data.images import PICTURES, RefusedImageError
from layershap.data.masks import COLUMNS, mask_file, read_mask, read_trimap, shares
from layershap.data.sources import SourceImage
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError

MOST_SAID = 5
TRIMAPS = Path("oxford-iiit-pet/annotations/trimaps")


@dataclass(frozen=True)
class Found:
    """Masks by the path of their image in data/images.csv, and how each is read. `own`: from data.masks.

    unused: files in data.masks that have no image's name.
    """

    files: Mapping[str, Path]
    read: Callable[[Path], np.ndarray] = read_mask
    own: bool = True
    unused: Sequence[Path] = ()


def masks_in(root: Path) -> list[Path]:
    """Return the pictures below a folder, hidden ones left out, in order. Raises InputError without the folder."""
    if not root.is_dir():
        raise InputError(f"data.masks: no folder {root}; set it to a folder with masks, or to {settings.OWN_MASKS}")
    found = []
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURES
        ]  # fmt: skip
    return sorted(found)


def check_asked(params: settings.Params) -> None:
    """Raise InputError where the gate asks for what lies inside the masks, and there will be none."""
    minimum, data = params.gate.min_inside, params.data
    if minimum is None or data.source == "oxford_pets" or masks_in(Path(data.masks)):
        return
    raise InputError(
        f"gate.min_inside = {minimum:g} asks where the heatmaps look, and data.masks ({data.masks}) has no masks: put "
        f"those of the test images there, or set gate.min_inside to null"
    )


def find_masks(data: settings.Data, images: Sequence[SourceImage], downloads: Path) -> Found:
    """Find the images' masks: in data.masks where it has any, else those that the source brings.

    Raises InputError where two are for one image, or none has an image's name.
    """
    root = Path(data.masks)
    masks = masks_in(root)
    if masks:
        return _by_name(root, masks, images, Path(data.path))
    if data.source != "oxford_pets":
        return Found({})
    trimaps = {image.target: downloads / TRIMAPS / f"{image.path.stem}.png" for image in images}
    return Found({target: path for target, path in trimaps.items() if path.is_file()}, read_trimap, own=False)


def _by_name(root: Path, masks: Sequence[Path], images: Sequence[SourceImage], pictures: Path) -> Found:
    exact = {path.relative_to(root).as_posix(): path for path in masks}
    stems: dict[str, list[Path]] = {}
    for path in masks:
        stems.setdefault(path.relative_to(root).with_suffix("").as_posix(), []).append(path)
    found: dict[str, Path] = {}
    for image in images:
        names = [image.target]
        if image.path.is_relative_to(pictures):
            names.append(image.path.relative_to(pictures).as_posix())
        mask = next((exact[name] for name in names if name in exact), None)
        if mask is None:
            near = next((stems[stem] for name in names if (stem := _stem(name)) in stems), [])
            if len(near) > 1:
                both = " and ".join(str(path) for path in near[:2])
                raise InputError(f"data.masks: {both} are both named as {image.target}; keep one")
            mask = near[0] if near else None
        if mask is not None:
            found[image.target] = mask
    if not found:
        raise InputError(
            f"data.masks: none of the {len(masks)} pictures in {root} has an image's name: "
            f"{masks[0].relative_to(root)} is there, and {_stem(images[0].target)}.png would be that of the first image"
        )
    used = set(found.values())
    return Found(found, unused=[path for path in masks if path not in used])


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix()


def bring_masks(found: Found, images: pd.DataFrame, target: Path) -> pd.DataFrame:
    """Write the masks of `images` (as in data/images.csv) below `target` and return their table (masks.COLUMNS).

    Raises InputError naming those that cannot be read, have another size than their image, or, of data.masks, mark
    nothing or everything.
    """
    rows, wrong = [], []
    for path, width, height in images[["path", "width", "height"]].itertuples(index=False):
        if path not in found.files:
            continue
        file = found.files[path]
        try:
            mask = found.read(file)
        except RefusedImageError as error:
            wrong.append(f"{file}: {error}")
            continue
        if mask.shape != (height, width):
            size = f"{mask.shape[1]} x {mask.shape[0]}"
            wrong.append(f"{file} has {size} pixels and its image {path} {width} x {height}; make them alike")
        elif found.own and (mask.all() or not mask.any()):
            all_of_it = "everything" if mask.all() else "nothing"
            wrong.append(f"{file} marks {all_of_it}; correct it, or remove it: images without a mask are left out")
        else:
            place = mask_file(target, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(place)
            digest = hashlib.sha256(f"{width}x{height}:".encode() + np.packbits(mask).tobytes()).hexdigest()
            rows.append((path, float(shares(mask, 1, 1)[0, 0]), digest))
    if wrong:
        more = f" and {len(wrong) - MOST_SAID} more" if len(wrong) > MOST_SAID else ""
        masks = "mask" if len(wrong) == 1 else "masks"
        raise InputError(f"data.masks: {len(wrong)} {masks} cannot be used: {'; '.join(wrong[:MOST_SAID])}{more}")
    return pd.DataFrame(rows, columns=COLUMNS)


def said(found: Found, table: pd.DataFrame, images: int) -> list[str]:
    """Return what a user should know: how many images have a mask, and which files are nobody's."""
    if not found.files:
        return []
    lines = [f"{len(table)} of {images} images have a mask; those without are left out of what lies inside"]
    if found.unused:
        lines.append(f"{len(found.unused)} pictures in data.masks have no image's name, {found.unused[0]} the first")
    return lines
