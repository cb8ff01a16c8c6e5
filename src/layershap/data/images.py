"""Reading one image file: every format becomes upright 8-bit RGB by a stated rule, or is refused with a reason."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000
MIN_SIDE = 8
MAX_ASPECT = 50

ImageFile.LOAD_TRUNCATED_IMAGES = False


class RefusedImageError(ValueError):
    """The image cannot be used; the message is the reason, for the table of refused images."""


def read_image(path: Path) -> Image.Image:
    """Decode `path` wholly and return it upright as RGB.

    By content, not by name. Sizes are judged from the header, before decoding. EXIF orientation is applied; 16-bit
    grey is scaled to 8 bits; CMYK and palettes are converted; transparency is laid over white; of an animation the
    first frame counts. Raises RefusedImageError with the reason.
    """
    return _read(path, path.stat().st_size)


def decode_image(content: bytes) -> Image.Image:
    """Do the same with the bytes of a file."""
    return _read(io.BytesIO(content), len(content))


def _read(file: Path | io.BytesIO, size: int) -> Image.Image:
    if size == 0:
        raise RefusedImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                _check_size(*image.size)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except RefusedImageError:
        raise
    except UnidentifiedImageError:
        raise RefusedImageError("not an image of a known format") from None
    except Image.DecompressionBombError as error:
        raise RefusedImageError(f"too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise RefusedImageError(f"cannot be decoded: {error}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RefusedImageError(f"too large: {width} x {height} pixels, at most {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise RefusedImageError(f"too small: {width} x {height} pixels, at least {MIN_SIDE} a side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RefusedImageError(f"too long: {width} x {height} pixels, sides at most 1 : {MAX_ASPECT}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.float64) / 257.0
        return Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise RefusedImageError("floating-point pixels have no defined range; save it with 8 or 16 bits")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, size: int) -> Image.Image:
    """Scale the short side to `size` pixels (bicubic) and cut the middle square."""
    return ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC, centering=(0.5, 0.5))


def pixel_digest(image: Image.Image) -> str:
    """Return the SHA-256 of size and pixels, in hex: equal for the same picture in another file or format."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()
