import pytest

from conftest import draw_image, write_classes
from layershap.data.fetch import fetch
from layershap.data.sources import folder
from layershap.data.tables import class_list
from layershap.workspace.errors import InputError


def test_usable_images_are_copied_and_described(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert fetched.metrics() == {"images": 8, "refused": 0, "exact_duplicates": 0, "classes": {"disc": 4, "square": 4}}
    assert class_list(fetched.images) == ["disc", "square"]
    for row in fetched.images.itertuples():
        assert (tmp_path / "out" / row.path).read_bytes() == (tmp_path / "in" / row.path).read_bytes()
        assert (row.width, row.height) == (48, 48)


def test_refused_images_are_listed_with_the_reason(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "disc" / "broken.png").write_bytes(b"text")
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.2)
    assert fetched.refused.to_dict("records") == [
        {"path": "disc/broken.png", "label": "disc", "reason": "not an image of a known format"}
    ]
    assert not (tmp_path / "out" / "disc" / "broken.png").exists()


def test_too_many_refused_images_stop(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "disc" / "broken.png").write_bytes(b"text")
    with pytest.raises(InputError, match=r"1 of 9 .*broken\.png"):
        fetch(folder(tmp_path / "in"), tmp_path / "out", 0.1)


def test_a_class_that_is_left_empty_stops(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "third").mkdir()
    (tmp_path / "in" / "third" / "a.png").write_bytes(b"text")
    with pytest.raises(InputError, match="class third"):
        fetch(folder(tmp_path / "in"), tmp_path / "out", 0.5)


def test_exact_duplicates_are_counted_by_pixels(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=2)
    image = draw_image(rng, 0)
    image.save(tmp_path / "in" / "disc" / "x.png")
    image.save(tmp_path / "in" / "disc" / "y.bmp")
    assert fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0).metrics()["exact_duplicates"] == 1


def test_splits_keep_equal_names_apart(tmp_path, rng):
    for part in ("train", "test"):
        write_classes(tmp_path / "in" / part, rng, count=2)
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert sorted(fetched.images["path"])[:2] == ["disc/test/000.png", "disc/test/001.png"]
    assert len(set(fetched.images["path"])) == 8
