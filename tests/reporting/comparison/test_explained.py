"""Images explained in both, read from arrays on disk, and the room that their heatmaps take on the page."""

import numpy as np
import pandas as pd
import pytest

from layershap.reporting.comparison import tiles
from layershap.reporting.comparison.explained import compared_maps, layer_table
from layershap.workspace import paths
from layershap.workspace.compared.side import Side


def explained(folder, rng, names, predicted, shape=(4, 4), layers=("stem", "head")):
    """Write what stage explain writes of images with these names, as far as it is compared."""
    (folder / paths.EXPLAINED_ARRAYS).mkdir(parents=True)
    rows = {"name": names, "path": names, "label": "a", "predicted": predicted, "correct": 1, "probability": 0.5}
    pd.DataFrame(rows).to_csv(folder / paths.EXPLAINED_IMAGES, index=False)
    for number, layer in enumerate(layers, 2):
        for kind in ("heatmap", "standard_error"):
            values = rng.normal(size=(len(names), *shape)).astype(np.float32)
            np.save(folder / paths.EXPLAINED_ARRAYS / paths.layer_array_name(number, layer, kind), np.abs(values))
    return Side("run", folder.name, {}, {}, {}, "", folder)


def predictions(names, pixels, classes="abc"):
    return pd.DataFrame({"path": names, "pixels": pixels} | {f"p_{name}": 0.0 for name in classes})


def test_images_are_common_by_their_pixels_and_changed_ones_come_first(tmp_path, rng):
    first = explained(tmp_path / "a", rng, ["x", "y", "z"], ["a", "b", "a"])
    second = explained(tmp_path / "b", rng, ["u", "v", "w"], ["a", "a", "a"])
    one, two = (predictions(["x", "y", "z"], ["1", "2", "3"]), predictions(["u", "v", "w"], ["9", "2", "1"]))
    found = compared_maps(first, second, one, two)
    assert [(image.first["name"], image.second["name"], image.changed) for image in found.images] == [
        ("y", "v", True), ("x", "w", False)
    ]  # fmt: skip
    # of three classes, another predicted one is another output: its maps are not counted
    assert [image.same_output for image in found.images] == [False, True]
    (row, _) = layer_table(found.layers)
    a = np.load(first.folder / paths.EXPLAINED_ARRAYS / "02_stem_heatmap.npy")[0]
    b = np.load(second.folder / paths.EXPLAINED_ARRAYS / "02_stem_heatmap.npy")[2]
    assert row["title"] == "2 stem" and row["images"] == 1
    assert row["correlation"] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)


def test_of_two_classes_both_maps_explain_the_same_output(tmp_path, rng):
    first, second = (explained(tmp_path / name, rng, ["x"], [name]) for name in "ab")
    table = predictions(["x"], ["1"], "ab")
    (image,) = compared_maps(first, second, table, table).images
    assert image.changed and image.same_output


def test_no_common_image_is_nothing(tmp_path, rng):
    first, second = (explained(tmp_path / name, rng, [name], ["a"]) for name in "ab")
    assert compared_maps(first, second, None, None) is None
    assert compared_maps(first, Side("run", "c", {}, {}, {}, "", tmp_path / "c"), None, None) is None


def test_maps_of_other_sizes_are_shown_and_not_compared(tmp_path, rng):
    first = explained(tmp_path / "a", rng, ["x"], ["a"])
    second = explained(tmp_path / "b", rng, ["x"], ["a"], shape=(6, 6))
    found = compared_maps(first, second, None, None)
    assert [row["correlation"] for row in layer_table(found.layers)] == [None, None]
    ((_, cards),), _ = tiles.tiles(found)
    assert [tile is None for tile in cards[0]["tiles"]] == [False, False, True]


def test_many_images_take_no_more_room(tmp_path, rng, monkeypatch):
    names = [str(number) for number in range(40)]
    first, second = (explained(tmp_path / name, rng, names, "a", shape=(120, 120)) for name in "ab")
    found = compared_maps(first, second, None, None)
    shown, side = tiles.tiles(found)
    assert (len(shown), side) == (6, 112)
    assert layer_table(found.layers)[0]["images"] == 40
    used = []
    for room in (150_000, 20_000):
        monkeypatch.setattr(tiles, "ROOM", room)
        shown, side = tiles.tiles(found)
        used.append((len(shown), side))
        assert sum(len(tile) for _, cards in shown for card in cards for tile in card["tiles"]) <= room
    assert used[1] < used[0] < (6, 112)
