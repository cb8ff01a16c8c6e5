"""Masks: which pixels of an image are inside of what a heatmap should lie on, and their share of a map's places."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from layershap.data.images import FORMATS, MAX_PIXELS, RefusedImageError
from layershap.data.tables import read_table
from layershap.workspace import paths

LOSSY = ("JPEG", "MPO")  # black is not quite 0 there
COLUMNS = ["path", "area", "digest"]


def read_mask(path: Path) -> np.ndarray:
    """Return where a mask is not 0, upright [H, W] bool: any colour but black that is not transparent.

    In a JPEG: what is at least half as bright as white. Raises RefusedImageError with the reason.
    """
    return _read(path, _marked)


def read_trimap(path: Path) -> np.ndarray:
    """Return where a trimap of Oxford-IIIT Pet has the animal (1) or its outline (3), not background (2) [H, W] bool.

    Raises RefusedImageError with the reason.
    """
    return _read(path, _animal)


def _read(path: Path, inside: Callable[[Image.Image, bool], np.ndarray]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise RefusedImageError(f"too large: {image.width} x {image.height} pixels")
                lossy = image.format in LOSSY
                image.load()
                return inside(ImageOps.exif_transpose(image), lossy)
    except RefusedImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise RefusedImageError(f"cannot be read as an image ({error})") from None


def _marked(image: Image.Image, lossy: bool) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        return np.asarray(image) != 0
    colours = np.asarray(image.convert("RGBA"))
    inside: np.ndarray = (colours[..., :3].max(-1) > (127 if lossy else 0)) & (colours[..., 3] > 0)
    return inside


def _animal(image: Image.Image, lossy: bool) -> np.ndarray:
    values = np.asarray(image)
    if values.ndim != 2 or not np.isin(values, (1, 2, 3)).all():
        raise RefusedImageError("no trimap: its values must be 1 (animal), 2 (background) and 3 (outline)")
    return values != 2


def shares(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which share of each place of a map is inside [height, width], 0..1.

    `mask` [H, W]: of the whole image. The map lies on the image's middle square, which is what the network sees
    (images.resize); a place counts as inside by the share of its area, whatever the two resolutions.
    """
    side = min(mask.shape)
    down, across = (
        _overlaps(length, (length - side) / 2, side, count)
        for length, count in zip(mask.shape, (height, width), strict=True)
    )
    found: np.ndarray = down @ mask.astype(np.float64) @ across.T
    return found.clip(0.0, 1.0)


def _overlaps(length: int, start: float, side: int, count: int) -> np.ndarray:
    """Return which share of each of `count` parts of start..start + side lies in each pixel [count, length]."""
    edges = start + side * np.arange(count + 1) / count
    pixels = np.arange(length)
    common = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    part: np.ndarray = common.clip(0) * count / side
    return part


@dataclass(frozen=True)
class Masks:
    """The masks that stage fetch wrote to `folder`: a PNG for each image that has one, and masks.csv (COLUMNS).

    area: inside share of the middle square. digest: of size and pixels.
    """

    folder: Path = paths.MASKS

    @cached_property
    def areas(self) -> dict[str, float]:
        """Inside share of the middle square by the image's path, of images that have a mask."""
        table = read_table(self.folder / paths.MASKS_TABLE.name)
        return dict(zip(table["path"], table["area"].astype(float), strict=True))

    def usable(self, path: str) -> bool:
        """Return whether an image has a mask that marks some of the middle square, and not all of it."""
        return 0 < self.areas.get(path, 0.0) < 1

    def of(self, path: str) -> np.ndarray | None:
        """Return the mask of an image [H, W] bool; None where it has none that is usable."""
        if not self.usable(path):
            return None
        with Image.open(mask_file(self.folder, path)) as image:
            return np.asarray(image) != 0


def mask_file(folder: Path, path: str) -> Path:
    """Return where the mask of the image with this path (of data/images.csv) is."""
    return folder / f"{path}.png"
