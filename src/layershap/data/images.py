"""Reading one image: whatever it comes as becomes upright 8-bit RGB by a stated rule, or is refused with a reason."""

import base64
import binascii
import hashlib
import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

# what Pillow knows for certain by its first bytes and reads without another program (EPS would start one)
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI", "SGI", "SUN",
           "PSD", "ICO", "DDS", "XBM")  # fmt: skip
RAW = frozenset({".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"})
PICTURES = {  # suffixes by which a file says that it is an image
    *RAW, ".apng", ".avif", ".bmp", ".dcm", ".dds", ".dib", ".eps", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2k",
    ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".psd", ".qoi", ".svg", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
MAX_PIXELS = 64_000_000
MIN_SIDE = 8
MAX_ASPECT = 50

ImageFile.LOAD_TRUNCATED_IMAGES = False


class RefusedImageError(ValueError):
    """The image cannot be used; the message is the reason, for the table of refused images.

    `image`: false where the content is no image at all.
    """

    def __init__(self, reason: str, image: bool = True):
        super().__init__(reason)
        self.image = image


def read_image(path: Path) -> Image.Image:
    """Decode `path` wholly and return it upright as RGB.

    By content, not by name (but for a camera's raw files, which look like TIFF). Sizes are judged from the header,
    before decoding. EXIF orientation is applied; 16-bit grey is scaled to 8 bits; CMYK and palettes are converted;
    transparency is laid over white; of an animation the first frame counts. Raises RefusedImageError with the reason.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise RefusedImageError("not a regular file", image=False)
    if path.suffix.lower() in RAW:
        raise RefusedImageError("raw file of a camera (the package rawpy would read it); save it as TIFF or JPEG")
    return _read(path, found.st_size)


def decode_image(content: bytes) -> Image.Image:
    """Do the same with the bytes of a file."""
    return _read(io.BytesIO(content), len(content))


def any_image(image: Any) -> Image.Image:
    """Do the same with whatever an image may come as; one picture gives the same pixels in each form.

    `image`: a path, the bytes of a file, these in base64 (str), a PIL image, or pixels [H, W], [H, W, 1], [H, W, 3] or
    [H, W, 4] (the last: opacity). Pixels are truths, 8 bits, 16 bits (uint16, scaled), whole numbers in 0..255, or
    broken numbers: in 0..1 where none is above 1, else in 0..255. Raises RefusedImageError with the reason.
    """
    if isinstance(image, Image.Image):
        _check_size(*image.size)
        with _refusing():
            return upright(image)
    if isinstance(image, Path):
        return read_image(image)
    if isinstance(image, str):
        try:
            image = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError):
            raise RefusedImageError("text that is not base64 of an image file", image=False) from None
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image))
    return any_image(_from_pixels(np.asarray(image)))


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or not pixels.size:
        expected = "[height, width, 3] or [height, width]"
        raise RefusedImageError(f"pixels must be {expected} (or 1 or 4 colours), not {list(pixels.shape)}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype == np.uint16:
        if pixels.ndim == 2:
            return Image.fromarray(pixels)  # the rule of 16-bit files
        pixels = _eight_bits(pixels)
    real = np.issubdtype(pixels.dtype, np.integer) or np.issubdtype(pixels.dtype, np.floating)
    if not real or not np.isfinite(pixels).all():
        raise RefusedImageError(f"pixels must be finite numbers, not {pixels.dtype}")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise RefusedImageError(f"pixels must be in 0..255 or 0..1, not {low:g} to {high:g}")
    if np.issubdtype(pixels.dtype, np.floating) and high <= 1:
        pixels = pixels.astype(np.float64) * 255
    return Image.fromarray(np.floor(pixels.astype(np.float64) + 0.5).astype(np.uint8))


def _read(file: Path | io.BytesIO, size: int) -> Image.Image:
    if size == 0:
        raise RefusedImageError("empty file", image=False)
    with _refusing():
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise _unknown(file) from None
        with image:
            _check_size(*image.size)
            return upright(image)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what Pillow raises into RefusedImageError, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RefusedImageError:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedImageError(f"too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise RefusedImageError(f"cannot be decoded: {error}") from None


def _unknown(file: Path | io.BytesIO) -> RefusedImageError:
    """Say what a file is that Pillow does not know, from its first bytes."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            head = opened.read(512)
    else:
        head = file.getvalue()[:512]
    others = {
        "HEIC, which Pillow does not read (the package pillow-heif would); save it as JPEG": head[8:12] in HEIC,
        "DICOM, which Pillow does not read (the package pydicom would); save it as PNG": head[128:132] == b"DICM",
        "JPEG XL, which Pillow does not read (the package pillow-jxl-plugin would); save it as PNG": (
            head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))
        ),
    }
    for reason, found in others.items():
        if found:
            return RefusedImageError(reason)
    text = b"\0" not in head and not any(byte < 9 for byte in head)
    return RefusedImageError("not an image of a known format" + (": text" if text else ""), image=False)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RefusedImageError(f"too large: {width} x {height} pixels, at most {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise RefusedImageError(f"too small: {width} x {height} pixels, at least {MIN_SIDE} a side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RefusedImageError(f"too long: {width} x {height} pixels, sides at most 1 : {MAX_ASPECT}")


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(pixels, dtype=np.float64) / 257.0 + 0.5, 0, 255).astype(np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """Return an opened image turned by its EXIF orientation, as 8-bit RGB over white."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise RefusedImageError("floating-point pixels have no defined range; save it with 8 or 16 bits")
    if image.mode == "La":
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
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
