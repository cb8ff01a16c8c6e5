"""The colour scale of a heatmap, and the outline of a mask."""

import numpy as np
import pytest

from layershap.plots.canvas import encode
from layershap.plots.panel import Panel
from layershap.plots.sheets import contact_sheet, layer_picture, plate, signed_limit


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.linspace(-1, 1, 2001), 0.995),
        (np.zeros((4, 4)), 1.0),
        (np.eye(100)[:1] * np.eye(100) * -3.0, 3.0),  # a single place, less than the half percent left out
        (np.full((2, 2), -1e-30), 1e-30),
    ],
)
def test_the_limit_of_a_colour_scale(values, limit):
    assert signed_limit(values) == pytest.approx(limit, rel=1e-2)


IMAGE = np.full((40, 40, 3), 0.5)
PANELS = [Panel("2 stem", np.ones((8, 8)), np.ones((8, 8))), Panel("3 block", np.ones((2, 2)), np.ones((2, 2)))]


def outlines(axis) -> list[np.ndarray]:
    """Return the corners of the lines of each mask drawn on an axis, as shares of the picture's width and height."""
    left, right, bottom, top = axis.images[0].get_extent()
    found = []
    for lines in axis.collections:
        corners = np.concatenate([path.vertices for path in lines.get_paths()])
        found.append((corners - (left, top)) / (right - left, bottom - top))
    return found


@pytest.mark.parametrize("draw", [contact_sheet, plate])
def test_a_masks_outline_is_at_its_place_whatever_the_maps_size(draw):
    inside = np.zeros((40, 40))
    inside[10:20, 20:] = 1.0  # it touches the right edge, along which it is closed
    figure = draw(IMAGE, PANELS, "a heading", "margin", inside=inside)
    shown = [axis for axis in figure.axes if axis.images and axis.get_label() != "<colorbar>"]
    assert len(shown) == (3 if draw is contact_sheet else 4)
    for axis in shown:
        for corners in outlines(axis):
            low, high = corners.min(0), corners.max(0)
            np.testing.assert_allclose([*low, *high], [0.5, 0.25, 1.0, 0.5], atol=0.02)
        assert len(outlines(axis)) == 2  # white below black


def test_without_a_mask_the_picture_is_as_it_was():
    for draw in (contact_sheet, plate):
        plain = encode(draw(IMAGE, PANELS, "a", "margin"))
        assert encode(draw(IMAGE, PANELS, "a", "margin", inside=None)) == plain
        assert encode(draw(IMAGE, PANELS, "a", "margin", inside=np.eye(40))) != plain
    figure = layer_picture(IMAGE, PANELS[0], "a", "margin", inside=np.pad(np.ones((20, 20)), 10))
    assert [len(outlines(axis)) for axis in figure.axes if axis.images] == [2, 2, 2]
