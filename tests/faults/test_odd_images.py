"""Rows 14 to 16 and 19: bad and odd files through the real stage, each used as stated or refused with its reason."""

import csv
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layershap.data.images import read_image
from project import Project

SIZE = (40, 24)  # width, height


def gradient():
    """Pixels [H, W, 3], brighter to the right (red) and down (green), so that a turned picture shows."""
    across, down = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    return np.stack([across, down, np.full_like(across, 128)], -1).round().astype(np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, content=b""):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND")


def turned(orientation):
    """A JPEG that is upright only when its EXIF orientation is followed."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = RGB.transpose(back[orientation]) if orientation in back else RGB
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", quality=95, exif=exif)


def noise(kind):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


RGB = Image.fromarray(gradient())
GREY = RGB.convert("L")
SIXTEEN = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
ALPHA = Image.fromarray(np.dstack([gradient(), np.full(SIZE[::-1], 255, np.uint8)]))

USED = {
    "plain.png": encoded(RGB, "PNG"),
    "plain.jpg": encoded(RGB, "JPEG", quality=95),
    "progressive.jpg": encoded(RGB, "JPEG", quality=95, progressive=True),
    "cmyk.jpg": encoded(RGB.convert("CMYK"), "JPEG", quality=95),
    "palette.png": encoded(RGB.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "alpha.png": encoded(ALPHA, "PNG"),
    "plain.bmp": encoded(RGB, "BMP"),
    "plain.tif": encoded(RGB, "TIFF"),
    "plain.webp": encoded(RGB, "WEBP", quality=95),
    "moving.gif": encoded(
        RGB, "GIF", save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_180)], duration=100
    ),
    "wrong extension.jpg": encoded(RGB, "PNG"),
    **{f"orientation {number}.jpg": turned(number) for number in range(1, 9)},
    "a;b $(c) 'd' é.png": encoded(RGB, "PNG"),
    "UPPER.PNG": encoded(RGB, "PNG"),
    "photo.jfif": encoded(RGB, "JPEG", quality=95),
    "two.mpo": encoded(RGB, "MPO", save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_180)]),
    "photo.avif": encoded(RGB, "AVIF", quality=95),
    "photo.jp2": encoded(RGB, "JPEG2000"),
    "no suffix": encoded(RGB, "PNG"),
    "day1/img_000.jpg": encoded(RGB, "JPEG", quality=95),
    "day2/img_001.jpg": encoded(RGB, "JPEG", quality=95),
}
USED_GREY = {
    "grey.png": encoded(GREY, "PNG"),
    "grey.jpg": encoded(GREY, "JPEG", quality=95),
    "sixteen bits.png": encoded(SIXTEEN, "PNG"),
    "sixteen bits.tif": encoded(SIXTEEN, "TIFF"),
    "grey and alpha.png": encoded(GREY.convert("LA"), "PNG"),
}
REFUSED = {
    "empty.png": (b"", "empty file"),
    "text.jpg": (b"not a picture at all", "not an image"),
    "page.png": (b"<html><body>404</body></html>", "not an image"),
    "document.png": (b"%PDF-1.4\n", "not an image"),
    "zeros.png": (bytes(5000), "not an image"),
    "truncated.jpg": (noise("JPEG")[:2000], "cannot be decoded"),
    "truncated.png": (noise("PNG")[:2000], "cannot be decoded"),
    "header alone.png": (png_header(64, 64), "cannot be decoded"),
    "bomb.png": (png_header(60000, 60000), "too large"),
    "one pixel.png": (encoded(RGB.resize((1, 1)), "PNG"), "too small"),
    "thread.png": (encoded(RGB.resize((5000, 1)), "PNG"), "too small|too long"),
    "long.png": (encoded(RGB.resize((5000, 10)), "PNG"), "too long"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "pillow-heif"),
    "README.txt": (b"how these were taken", "not an image of a known format: text"),
    "vector.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    project = Project(root, np.random.default_rng(0), {"data": {"source": "folder", "path": "pictures"}}, count=2)
    project.change("data.max_refused", 0.9)
    target = root / "pictures" / "disc"
    for name, content in {**USED, **USED_GREY, **{name: content for name, (content, _) in REFUSED.items()}}.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
    (target / "Thumbs.db").write_bytes(b"litter")
    (target / ".hidden.png").write_bytes(USED["plain.png"])
    (target / "loop.png").symlink_to("loop.png")
    (root / "pictures" / ".hidden").mkdir()
    (root / "pictures" / "square" / "inside").symlink_to(root / "pictures")
    project.run("layershap", "fetch")
    return root


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def test_there_are_more_than_thirty():
    assert len(USED) + len(USED_GREY) + len(REFUSED) >= 30


def test_every_file_is_used_or_refused_as_it_should(fetched):
    used, refused = table(fetched / "data" / "images.csv"), table(fetched / "data" / "refused.csv")
    own = {name for name, row in used.items() if row["label"] == "disc"} - {"000.png", "001.png"}
    assert own == {Path(name).name for name in (*USED, *USED_GREY)}
    assert set(refused) - {"loop.png"} == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_is_told(fetched, name):
    reason = table(fetched / "data" / "refused.csv")[name]["reason"]
    assert any(part in reason for part in REFUSED[name][1].split("|")), reason


@pytest.mark.parametrize("name", [*USED, *USED_GREY])
def test_what_is_used_is_upright_and_not_clipped(fetched, name):
    expected = np.asarray(GREY.convert("RGB")) if name in USED_GREY else gradient()
    found = np.asarray(read_image(fetched / "data" / "raw" / "disc" / name))
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected.astype(int))
    # a palette has 256 colours, JPEG and CMYK round
    assert difference.mean() < 8, name


def test_hidden_folders_and_links_in_circles_make_no_class(fetched):
    classes = {row["label"] for row in table(fetched / "data" / "images.csv").values()}
    assert classes == {"disc", "square"}


def test_a_bomb_costs_no_memory(tmp_path):
    """Row 16: from the header, in less than 50 MB beyond the interpreter."""
    (tmp_path / "bomb.png").write_bytes(REFUSED["bomb.png"][0])
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from layershap.data.images import read_image, RefusedImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except RefusedImageError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bomb.png")], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 50_000


def test_too_many_refused_leave_the_list_and_nothing_else(tmp_path):
    """Case I6: what is wrong with every file can be read, and no half of the images stays."""
    project = Project(tmp_path, np.random.default_rng(0), {"data": {"source": "folder", "path": "pictures"}}, count=2)
    for name, (content, _) in REFUSED.items():
        (tmp_path / "pictures" / "disc" / name).write_bytes(content)
    done = project.run("layershap", "fetch", expect=3)
    assert "data.max_refused" in done.stderr
    assert "data/refused.csv" in done.stderr
    assert set(table(tmp_path / "data" / "refused.csv")) == set(REFUSED)
    # the folder of masks came with the project
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["own_masks", "refused.csv"]


@pytest.mark.parametrize("path", ["~/pics", "", ".", "data/raw"])
def test_a_data_path_that_cannot_be_is_one_line(tmp_path, path):
    """Case I8."""
    project = Project(tmp_path, np.random.default_rng(0), {"data": {"source": "folder", "path": path}}, count=2)
    done = project.run("layershap", "fetch", expect=2)
    assert done.stderr.startswith("layershap: params.yaml: data.path: ")
    assert len(done.stderr.splitlines()) == 1
