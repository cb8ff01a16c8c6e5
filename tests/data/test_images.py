import base64
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from layershap.data.images import RefusedImageError, any_image, pixel_digest, read_image, resize


def gradient(width=24, height=16) -> np.ndarray:
    """Left dark, right bright; top-left corner red."""
    pixels = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    pixels[:4, :4] = (255, 0, 0)
    return pixels


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = Image.fromarray(gradient())
    inverse = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, stored, "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(path)), gradient())


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 64 * 16).astype(np.uint16).reshape(16, 64)
    path = save(tmp_path, Image.fromarray(values), "deep.png")
    found = np.asarray(read_image(path))[..., 0]
    np.testing.assert_array_equal(found, np.floor(values / 257.0 + 0.5).astype(np.uint8))


def test_alpha_lies_over_white(tmp_path):
    clear = np.zeros((16, 16, 4), np.uint8)
    path = save(tmp_path, Image.fromarray(clear), "clear.png")
    assert np.asarray(read_image(path)).min() == 255


def test_palette_grey_cmyk_become_rgb(tmp_path):
    rgb = Image.fromarray(gradient())
    for image, name in ((rgb.quantize(64), "p.png"), (rgb.convert("L"), "l.png"), (rgb.convert("CMYK"), "c.jpg")):
        found = read_image(save(tmp_path, image, name))
        assert found.mode == "RGB"
        assert np.asarray(found)[8, 2].mean() < 60 < 190 < np.asarray(found)[8, -2].mean()


def test_the_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    path = save(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert tuple(np.asarray(read_image(path))[0, 0]) == (255, 0, 0)


def test_the_content_decides_not_the_suffix(tmp_path):
    path = save(tmp_path, Image.fromarray(gradient()), "really.png")
    np.testing.assert_array_equal(np.asarray(read_image(path.rename(tmp_path / "wrong.jpg"))), gradient())


def png_header(width, height):
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def encoded(kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not an image"),
        (encoded("JPEG")[:2000], "cannot be decoded"),
        (encoded("PNG")[:2000], "cannot be decoded"),
        (png_header(60000, 60000), "too large"),
        (png_header(1, 1), "too small"),
        (png_header(5000, 10), "too long"),
        (b"%PDF-1.4\n", "not an image"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(RefusedImageError, match=reason):
        read_image(path)


def test_pixel_digest_ignores_the_file_format(tmp_path):
    image = Image.fromarray(gradient())
    same = [read_image(save(tmp_path, image, name)) for name in ("a.png", "a.bmp")]
    assert pixel_digest(same[0]) == pixel_digest(same[1])
    assert pixel_digest(same[0]) != pixel_digest(image.transpose(Image.Transpose.ROTATE_180))


def test_resize_cuts_the_middle_square():
    found = np.asarray(resize(Image.fromarray(gradient(48, 16)), 16))
    assert found.shape == (16, 16, 3)
    assert 60 < found[8, 0].mean() < found[8, -1].mean() < 195


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jfif", "JPEG"), ("a.mpo", "MPO"), ("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a", "PNG"), ("a.ppm", "PPM")],
)
def test_what_pillow_reads_is_read(tmp_path, name, kind):
    image = Image.fromarray(gradient(48, 32))
    options = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
    path = save(tmp_path, image, name, format=kind, **options)
    found = np.asarray(read_image(path)).astype(int)
    assert np.abs(found - gradient(48, 32)).mean() < 8


@pytest.mark.parametrize(
    ("name", "content", "reason", "image"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif", True),
        ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pillow-heif", True),
        ("a.dcm", bytes(128) + b"DICM" + bytes(90), "pydicom", True),
        ("a.jxl", b"\xff\x0a" + bytes(90), "JPEG XL", True),
        ("a.NEF", encoded("TIFF"), "rawpy", True),
        ("a.txt", b"some words\n", "text", False),
        ("a.bin", bytes(90), "not an image", False),
    ],
)
def test_what_pillow_does_not_read_says_what_it_is(tmp_path, name, content, reason, image):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RefusedImageError, match=reason) as caught:
        read_image(path)
    assert caught.value.image == image


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(RefusedImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


DEEP = np.linspace(0, 65535, 64 * 16).astype(np.uint16).reshape(16, 64)
CLEAR = np.dstack([gradient(), np.tile(np.linspace(0, 255, 24).astype(np.uint8), (16, 1))])
TURNED = Image.Exif()
TURNED[0x0112] = 6
PALETTE = Image.fromarray(gradient()).quantize(16)
PALETTE.info["transparency"] = 3


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(DEEP), {}),
        (Image.fromarray(CLEAR), {}),
        (Image.fromarray(CLEAR).convert("LA"), {}),
        (PALETTE, {"transparency": 3}),
        (Image.fromarray(gradient()), {"exif": TURNED}),
    ],
)
def test_one_picture_gives_the_same_pixels_in_each_form(tmp_path, image, options):
    path = save(tmp_path, image, "a.png", **options)
    expected = np.asarray(read_image(path))
    for form in (path.read_bytes(), base64.b64encode(path.read_bytes()).decode(), Image.open(path)):
        np.testing.assert_array_equal(np.asarray(any_image(form)), expected)
    if "exif" not in options:
        np.testing.assert_array_equal(np.asarray(any_image(image)), expected)


def test_premultiplied_opacity_lies_over_white():
    for mode in ("La", "RGBa"):
        whole = Image.fromarray(CLEAR).convert("LA" if mode == "La" else "RGBA")
        found = np.asarray(any_image(whole.convert(mode)))
        assert np.abs(found.astype(int) - np.asarray(any_image(whole)).astype(int)).max() <= 3


@pytest.mark.parametrize(
    "pixels",
    [gradient(), gradient().astype(np.int64), gradient() / 1.0, gradient() / 255, (gradient() / 255).astype(np.float32),
     gradient().astype(np.uint16) * 257, gradient().tolist()],
)  # fmt: skip
def test_pixels_of_any_type_are_the_same_picture(pixels):
    np.testing.assert_array_equal(np.asarray(any_image(pixels)), gradient())


def test_pixels_with_opacity_grey_16_bits_and_truths():
    np.testing.assert_array_equal(np.asarray(any_image(CLEAR)), np.asarray(any_image(Image.fromarray(CLEAR))))
    np.testing.assert_array_equal(np.asarray(any_image(DEEP)), np.asarray(any_image(Image.fromarray(DEEP))))
    np.testing.assert_array_equal(np.asarray(any_image(gradient()[..., :1])), np.asarray(any_image(gradient()[..., 0])))
    assert np.unique(np.asarray(any_image(gradient()[..., 0] > 100))).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (gradient() / 255 - 0.5, "0..255"), (gradient().astype(int) * 2, "0..255"),
        (np.full((16, 16), np.nan), "finite"),
        (np.zeros((16, 16, 2)), "height, width"), (np.zeros((16, 16), complex), "finite numbers"), ("no!", "base64"),
        (np.zeros((2, 2), np.uint8), "too small"), (Image.new("RGB", (2, 2)), "too small"), (b"", "empty"),
        (Image.new("F", (16, 16)), "floating-point"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_any_form(image, reason):
    with pytest.raises(RefusedImageError, match=reason):
        any_image(image)
