import random

import pytest

from layershap.workspace import paths


def test_ordinary_names_are_the_path():
    assert paths.picture_names(["cat/x.jpg", "dog/x.jpg", "cat/a.b.png"]) == {
        "cat/x.jpg": "cat-x",
        "dog/x.jpg": "dog-x",
        "cat/a.b.png": "cat-a.b",
    }


@pytest.mark.parametrize(
    "alike",
    [
        ("cat/x.jpg", "cat/x.png"),
        ("cat/a-b.png", "cat-a/b.png"),
        ("cat/x.png", "Cat/X.png"),
        ("caf\u00e9/x.png", "cafe\u0301/x.png"),
        (f"cat/{'x' * 240}1.png", f"cat/{'x' * 240}2.png"),
        (f"{'猫' * 80}/1.png", f"{'猫' * 80}/2.png"),
    ],
)
def test_two_images_have_two_names(alike):
    names = paths.picture_names([*alike, "cat/y.png"])
    assert names["cat/y.png"] == "cat-y"
    assert len({name.casefold() for name in names.values()}) == 3
    assert all(len(name.encode()) <= 240 and "/" not in name for name in names.values())
    other = [*alike, "cat/y.png"]
    random.Random(0).shuffle(other)
    assert paths.picture_names(other) == names


def test_a_layers_picture_has_a_name_that_file_systems_take():
    assert paths.layer_picture_name(2, "stem") == "layer_02_stem.png"
    assert paths.layer_picture_name(11, "layer1.0.conv:2") == "layer_11_layer1.0.conv-2.png"
    assert paths.layer_picture_name(3, "a/b c") == "layer_03_a-b-c.png"
    assert len(paths.layer_picture_name(4, "x" * 300)) < 80
