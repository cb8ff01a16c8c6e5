"""Small pictures of the test images, from data/raw."""

from collections.abc import Iterable
from pathlib import Path

from layershap.data.images import RefusedImageError, pixel_digest, read_image, resize
from layershap.reporting.report import embed
from layershap.workspace import paths

SIDE = 160  # pixels
BYTES = 40_000


def thumbnail(candidates: Iterable[str], pixels: str, folder: Path) -> str | None:
    """Return the address of a test image's middle square; None where it is not here, or another one has its name.

    `candidates`: its path below data/raw in either project. `pixels`: the beginning of its pixels' digest, or nothing
    where that is not known. `folder`: for the picture meanwhile.
    """
    for path in dict.fromkeys(candidates):
        try:
            image = read_image(paths.RAW / path)
        except (OSError, RefusedImageError):
            continue
        if pixel_digest(image).startswith(pixels):
            place = folder / "thumbnail.png"
            resize(image, SIDE).save(place)
            return embed(place, BYTES)
    return None
