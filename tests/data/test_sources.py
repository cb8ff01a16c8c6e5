import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from conftest import draw_image, write_classes
from layershap.data.fetch import fetch
from layershap.data.sources import class_names, elpv, extract, folder, limit, oxford_pets
from layershap.data.tables import natural
from layershap.workspace.errors import InputError


def test_elpv_is_the_published_data_set():
    images = list(elpv())
    assert len(images) == 2624
    # Buerhop-Lutz et al. 2018: 1074 mono, 1550 poly; 715 + 106 cells with a defect probability of 2/3 or more
    assert sum(image.group == "mono" for image in images) == 1074
    assert sum(image.label == "defective" for image in images) == 821
    assert class_names(images) == ["functional", "defective"]
    assert all((image.label == "defective") == (image.probability >= 0.5) for image in images)
    assert Image.open(images[0].path).size == (300, 300)


def test_folder_of_classes(tmp_path, rng):
    write_classes(tmp_path, rng, ("b", "a", "c"), count=3)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.md").write_text("text")
    images = folder(tmp_path)
    assert [(image.label, image.split) for image in images] == [(name, "") for name in "aaabbbccc"]
    assert class_names(images) == ["a", "b", "c"]


def test_folder_with_its_own_splits(tmp_path, rng):
    for part in ("train", "test"):
        write_classes(tmp_path / part, rng, count=2)
    assert {(image.label, image.split) for image in folder(tmp_path)} == {
        (label, part) for label in ("disc", "square") for part in ("train", "test")
    }


def test_names_with_spaces_and_signs_are_kept(tmp_path, rng):
    names = ("a b", "ü;$(rm x)")
    write_classes(tmp_path / "in", rng, names, count=1)
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert {path.partition("/")[0] for path in fetched.images["path"]} == set(names)
    assert all((tmp_path / "out" / path).is_file() for path in fetched.images["path"])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda root: None, "no folder"),
        (lambda root: root.mkdir(), "no class folder"),
        (lambda root: (root / "only").mkdir(parents=True), "no class folder with images"),
        (lambda root: [(root / n).mkdir(parents=True) for n in ("train", "test", "extra")], "extra"),
    ],
)
def test_folders_that_cannot_be_used_are_named(tmp_path, make, expected):
    make(tmp_path / "data")
    with pytest.raises(InputError, match=expected):
        folder(tmp_path / "data")


def test_one_class_is_not_enough(tmp_path, rng):
    write_classes(tmp_path, rng, ("only",), count=2)
    with pytest.raises(InputError, match="only class only"):
        folder(tmp_path)


def test_a_class_missing_from_a_split_is_named(tmp_path, rng):
    write_classes(tmp_path / "train", rng, count=2)
    write_classes(tmp_path / "test", rng, ("disc",), count=2)
    with pytest.raises(InputError, match="test has no images of class square"):
        folder(tmp_path)


def test_limit_counts_by_class_and_split(tmp_path, rng):
    for part in ("train", "test"):
        write_classes(tmp_path / part, rng, count=5)
    assert len(limit(folder(tmp_path), 2, seed=0)) == 8


def test_the_draw_is_by_seed_and_of_each_class(tmp_path, rng):
    write_classes(tmp_path, rng, count=30)
    images = folder(tmp_path)
    drawn = [limit(images, 10, seed) for seed in (0, 1)]
    assert limit(images, None, 0) == images
    for part in drawn:
        assert [image.label for image in part] == ["disc"] * 10 + ["square"] * 10
        assert part == sorted(part, key=images.index)
        assert max(int(image.path.stem) for image in part) > 19, "not the first by name"
    assert drawn[0] != drawn[1]
    assert drawn[0] == limit(images, 10, 0)


def test_every_file_below_a_class_folder_is_listed_under_its_path(tmp_path, rng):
    write_classes(tmp_path, rng, count=1)
    for name in ("day1/img_000.jpg", "day2/img_000.jpg", "photo", "note.txt", "a.heic"):
        (tmp_path / "disc" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "disc" / name).write_bytes(b"text")
    listed = {image.target for image in folder(tmp_path) if image.label == "disc"}
    assert listed == {"disc/" + name for name in
                      ("000.png", "day1/img_000.jpg", "day2/img_000.jpg", "photo", "note.txt", "a.heic")}  # fmt: skip


def test_litter_and_empty_folders_are_left_out_and_said(tmp_path, rng, capsys):
    write_classes(tmp_path, rng, count=2)
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "empty", "disc/@eaDir", "disc/.thumbs"):
        (tmp_path / name).mkdir()
    for name in ("__MACOSX/._000.png", "@eaDir/000.png", "disc/@eaDir/000.png", "disc/Thumbs.db", "disc/.DS_Store"):
        (tmp_path / name).write_bytes(b"text")
    (tmp_path / "loose.jpg").write_bytes(b"text")
    assert [image.target for image in folder(tmp_path)] == [
        f"{n}/{i}.png" for n in ("disc", "square") for i in ("000", "001")
    ]
    said = capsys.readouterr().err
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir (2)", "empty", "Thumbs.db", ".DS_Store", "outside of class"):
        assert name in said


def test_classes_count_as_people_do(tmp_path, rng):
    write_classes(tmp_path, rng, ("10", "1", "2"), count=1)
    assert class_names(folder(tmp_path)) == ["1", "2", "10"]
    assert [image.label for image in folder(tmp_path)] == ["1", "2", "10"]
    assert sorted(["b2", "B10", "b10", "b", "01", "1", ""], key=natural) == ["", "01", "1", "B10", "b", "b2", "b10"]


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "test"), ("train", "TEST", "Val")])
def test_splits_are_known_in_any_case(tmp_path, rng, names):
    for name in names:
        write_classes(tmp_path / name, rng, count=2)
    assert {image.split for image in folder(tmp_path)} == {name.lower() for name in names}
    assert {image.label for image in folder(tmp_path)} == {"disc", "square"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val"), "without test; add test/"),
        (("train",), "without test; add test/"),
        (("val", "test"), "without train; add train/"),
        (("train", "test", "validation"), "validation: rename it to val"),
        (("train", "test", "Valid"), "Valid: rename it to val"),
        (("training", "testing"), "training: rename it to train"),
        (("train", "Train", "test"), "make them one, train"),
    ],
)
def test_splits_that_lack_something_say_what(tmp_path, rng, names, expected):
    for name in names:
        write_classes(tmp_path / name, rng, count=2)
    with pytest.raises(InputError, match=expected):
        folder(tmp_path)


def test_a_train_may_be_a_class(tmp_path, rng):
    write_classes(tmp_path, rng, ("bus", "train"), count=1)
    assert [(image.label, image.split) for image in folder(tmp_path)] == [("bus", ""), ("train", "")]


PARTS = {"trainval": ["Abyssinian_1", "beagle_1", "beagle_2"], "test": ["Abyssinian_2", "beagle_3"]}


def pets_archives(rng):
    """Two archives in the layout of Oxford-IIIT Pet: images, and lists of name, class, species and breed."""
    images, lists = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=images, mode="w:gz") as archive:
        for name in PARTS["trainval"] + PARTS["test"]:
            buffer = io.BytesIO()
            draw_image(rng, int(name[0].islower()), 256).save(buffer, "JPEG", quality=95)
            add(archive, f"images/{name}.jpg", buffer.getvalue())
    with tarfile.open(fileobj=lists, mode="w:gz") as archive:
        for part, names in PARTS.items():
            rows = [f"{name} {1 + name[0].islower()} {1 + name[0].islower()} 1" for name in names]
            add(archive, f"annotations/{part}.txt", "\n".join(rows).encode())
    return {"/images.tar.gz": images.getvalue(), "/annotations.tar.gz": lists.getvalue()}


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


class Server:
    """A real HTTP server on loopback that answers ranges; `cut`: send so many bytes, then close."""

    def __init__(self, files):
        self.files, self.requests, self.cut, self.status, self.hang = files, [], None, None, threading.Event()
        self.hang.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.hang.wait(20)
                if outer.status or self.path not in outer.files:
                    self.send_error(outer.status or 404)
                    return
                content = outer.files[self.path]
                start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start:] if outer.cut is None else content[start : outer.cut])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def resources(self):
        base = f"http://127.0.0.1:{self.server.server_port}"
        return [(base + path, hashlib.md5(content).hexdigest()) for path, content in self.files.items()]


@pytest.fixture
def server(rng):
    server = Server(pets_archives(rng))
    yield server
    server.hang.set()
    server.server.shutdown()
    server.server.server_close()


def test_oxford_pets_becomes_cats_and_dogs(server, tmp_path):
    images = oxford_pets(tmp_path, server.resources())
    assert [(image.path.stem, image.label) for image in images] == [
        (name, "dog" if name[0].islower() else "cat") for name in PARTS["trainval"] + PARTS["test"]
    ]
    asked = len(server.requests)
    oxford_pets(tmp_path, server.resources())
    assert len(server.requests) == asked, "a verified archive is not fetched again"


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(InputError, match="download failed"):
        oxford_pets(tmp_path, server.resources())
    assert not (tmp_path / "images.tar.gz").exists()
    server.cut = None
    assert len(oxford_pets(tmp_path, server.resources())) == 5
    assert ("/images.tar.gz", "bytes=65536-") in server.requests


def test_wrong_content_names_both_checksums(server, tmp_path):
    (address, right), other = server.resources()
    server.files["/images.tar.gz"] = b"x" * 500
    with pytest.raises(InputError, match=f"{hashlib.md5(b'x' * 500).hexdigest()} instead of {right}"):
        oxford_pets(tmp_path, [(address, right), other])
    assert not list(tmp_path.glob("images.tar.gz*"))


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server_names_the_address(server, tmp_path, status):
    server.status = status
    with pytest.raises(InputError, match=rf"127\.0\.0\.1.*{status}"):
        oxford_pets(tmp_path, server.resources())


def test_a_server_that_hangs_is_given_up(server, tmp_path):
    server.hang.clear()
    with pytest.raises(InputError, match="download failed"):
        oxford_pets(tmp_path, server.resources(), timeout=1.0)


def evil(kind):
    member = tarfile.TarInfo({"up": "../outside", "absolute": "/tmp/layershap-outside", "link": "link"}[kind])
    if kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "../../outside"
    return member


@pytest.mark.parametrize("kind", ["up", "link"])
def test_an_archive_that_writes_outside_is_refused(tmp_path, kind):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(evil(kind))
    with pytest.raises(InputError, match="refused"):
        extract(path, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("outside"))


def test_absolute_names_land_inside(tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(evil("absolute"))
    extract(path, tmp_path / "in")
    assert (tmp_path / "in" / "tmp" / "layershap-outside").exists()


def test_a_truncated_archive_is_named(tmp_path, rng):
    path = tmp_path / "half.tar.gz"
    path.write_bytes(pets_archives(rng)["/images.tar.gz"][:700])
    with pytest.raises(InputError, match=r"half\.tar\.gz"):
        extract(path, tmp_path / "in")
