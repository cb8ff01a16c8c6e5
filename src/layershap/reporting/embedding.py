"""Files as addresses inside a page, which then needs nothing else."""

import base64
import io
from pathlib import Path

from PIL import Image

# bytes, before they become a third more inside the page
PICTURE_BYTES = 350_000


def address(content: bytes, kind: str = "png") -> str:
    """Return the bytes of a picture as the address of an image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embed(picture: Path, limit: int = PICTURE_BYTES) -> str:
    """Return a PNG file as the address of an image; as a JPEG of at most `limit` bytes if it is larger."""
    return fitted(picture.read_bytes(), limit)


def fitted(content: bytes, limit: int = PICTURE_BYTES) -> str:
    """Return the bytes of a PNG file as `embed` returns the file."""
    if len(content) <= limit:
        return address(content)
    with Image.open(io.BytesIO(content)) as opened:
        return address(jpeg(opened.convert("RGB"), limit), "jpeg")


def jpeg(image: Image.Image, limit: int) -> bytes:
    """Return an RGB image as the bytes of a JPEG file, smaller and smaller until these are at most `limit`."""
    quality = 90
    while True:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=quality)
        if file.tell() <= limit or min(image.size) < 16:
            return file.getvalue()
        if quality > 70:
            quality -= 10
        else:
            image = image.resize((max(image.width * 4 // 5, 1), max(image.height * 4 // 5, 1)))
