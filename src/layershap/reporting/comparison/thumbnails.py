"""Small pictures of the test images, from data/raw."""

import io
from collections.abc import Iterable

from layershap.data.images import RefusedImageError, pixel_digest, read_image, resize
from layershap.reporting.embedding import fitted
from layershap.workspace import paths

SIDE = 160  # pixels
BYTES = 40_000


def thumbnail(candidates: Iterable[str], pixels: str) -> str | None:
    """Return the address of a test image's middle square; None where it is not here, or another one has its name.

    `candidates`: its path below data/raw in either project. `pixels`: the beginning of its pixels' digest, or nothing
    where that is not known.
    """
    for path in dict.fromkeys(candidates):
        try:
            image = read_image(paths.RAW / path)
        except (OSError, RefusedImageError):
            continue
        if pixel_digest(image).startswith(pixels):
            file = io.BytesIO()
            resize(image, SIDE).save(file, "png")
            return fitted(file.getvalue(), BYTES)
    return None
