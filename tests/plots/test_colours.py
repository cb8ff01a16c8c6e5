"""A heatmap as a picture of its own pixels."""

import io

import numpy as np
from PIL import Image

from layershap.plots import colours


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_red_is_above_and_blue_below_and_pale_is_nearer_to_white():
    values = np.array([[1.0, -1.0, 0.0], [1.0, -1.0, np.nan]])
    found = pixels(colours.picture(values, np.array([[False] * 3, [True] * 3])))
    assert found.shape == (2, 3, 3)
    (red, _, blue), (other_red, _, other_blue) = found[0, 0], found[0, 1]
    assert red > blue + 60 and other_blue > other_red + 60
    assert found[0, 2].min() > 235 and found[1, 2].min() > 235
    # a quarter of the colour on white
    assert np.abs((255 - found[1, :2]) - (255 - found[0, :2]) / 4).max() <= 1


def test_what_is_beyond_the_scale_has_its_last_colour():
    assert (pixels(colours.picture(np.array([[7.0, -7.0]]))) == pixels(colours.picture(np.array([[1.0, -1.0]])))).all()


def test_shrunk_maps_are_means_also_at_the_edge():
    values = np.arange(15.0).reshape(3, 5)
    wanted = [[np.mean([0, 1, 5, 6]), np.mean([2, 3, 7, 8]), np.mean([4, 9])], [10.5, 12.5, 14]]
    assert colours.shrunk(values, 3).tolist() == wanted
    assert colours.shrunk(values, 5) is values
