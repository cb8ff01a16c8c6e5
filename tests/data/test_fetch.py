import pytest

from conftest import draw_image, write_classes
from layershap.data.fetch import TooManyRefusedError, fetch
from layershap.data.sources import folder
from layershap.data.tables import class_list
from layershap.workspace.errors import InputError


def test_usable_images_are_copied_and_described(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert fetched.metrics() == {
        "images": 8, "refused": 0, "refused_that_are_no_images": 0, "exact_duplicates": 0, "pictures_in_two_classes": 0,
        "classes": {"disc": 4, "square": 4},
    }  # fmt: skip
    assert class_list(fetched.images) == ["disc", "square"]
    for row in fetched.images.itertuples():
        assert (tmp_path / "out" / row.path).read_bytes() == (tmp_path / "in" / row.path).read_bytes()
        assert (row.width, row.height) == (48, 48)


def test_refused_images_are_listed_with_the_reason(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "disc" / "broken.png").write_bytes(b"text")
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.2)
    assert fetched.refused.to_dict("records") == [
        {"path": "disc/broken.png", "label": "disc", "reason": "not an image of a known format: text"}
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


def test_what_lies_beside_the_images_is_listed_but_not_counted(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=4)
    for name in ("README.txt", "labels.json", "notes"):
        (tmp_path / "in" / "disc" / name).write_text("text")
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert set(fetched.refused["path"]) == {"disc/README.txt", "disc/labels.json", "disc/notes"}
    assert (fetched.metrics()["refused"], fetched.metrics()["refused_that_are_no_images"]) == (3, 3)


@pytest.mark.parametrize("name", ["a.heic", "a.jpeg", "photo"])
def test_what_is_or_says_that_it_is_an_image_counts(tmp_path, rng, name):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "disc" / name).write_bytes(
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" if name != "a.jpeg" else b"text"
    )
    with pytest.raises(TooManyRefusedError, match="1 of 9 ") as caught:
        fetch(folder(tmp_path / "in"), tmp_path / "out", 0.1)
    assert caught.value.refused["path"].tolist() == [f"disc/{name}"]


def test_equal_names_below_a_class_are_two_images(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=2)
    for day in ("day1", "day2"):
        (tmp_path / "in" / "disc" / day).mkdir()
        draw_image(rng, 0).save(tmp_path / "in" / "disc" / day / "img_000.jpg")
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert {"disc/day1/img_000.jpg", "disc/day2/img_000.jpg"} < set(fetched.images["path"])
    assert fetched.images["digest"].nunique() == 6
    assert all((tmp_path / "out" / path).is_file() for path in fetched.images["path"])


def test_classes_of_unlike_size_and_pictures_in_two_are_said(tmp_path, rng, capsys):
    write_classes(tmp_path / "in", rng, ("disc",), count=23)
    write_classes(tmp_path / "in", rng, ("square",), count=1)
    (tmp_path / "in" / "square" / "same.png").write_bytes((tmp_path / "in" / "disc" / "007.png").read_bytes())
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    said = capsys.readouterr().err
    assert "class disc has 23 images, class square 2" in said
    assert "1 pictures stand in more than one class, disc/007.png and square/same.png" in said
    assert fetched.metrics()["pictures_in_two_classes"] == 1


def test_even_classes_give_no_warning(tmp_path, rng):
    write_classes(tmp_path / "in", rng, ("disc",), count=20)
    write_classes(tmp_path / "in", rng, ("square",), count=2)
    assert fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0).warnings() == []


def test_class_numbers_are_in_natural_order(tmp_path, rng):
    write_classes(tmp_path / "in", rng, ("1", "2", "10"), count=1)
    fetched = fetch(folder(tmp_path / "in"), tmp_path / "out", 0.0)
    assert class_list(fetched.images) == ["1", "2", "10"]
    assert list(fetched.metrics()["classes"]) == ["1", "2", "10"]
