"""The contact sheet at the size of a card of MLflow's image grid."""

import io

import numpy as np
import pytest
from PIL import Image

from layershap.plots import canvas
from layershap.plots.panel import Panel
from layershap.reporting.small_sheet import GAP, SIDE, largest, small_sheet


def pixels(figure):
    with Image.open(io.BytesIO(canvas.encode(figure))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("layers", [1, 4, 9, 18, 26, 60])
def test_the_sheet_is_a_square_full_of_heatmaps(layers):
    panels = [Panel(str(number), np.ones((4, 4))) for number in range(2, layers + 2)]
    found = pixels(small_sheet(np.zeros((8, 8, 3)), panels, "cell0013\ntaken for functional (98% sure)"))
    assert found.shape == (360, 360, 3)
    red = (found[..., 0] > found[..., 2] + 60).mean()
    black = (found.sum(2) == 0).mean()
    assert red + black > 0.4  # a contact sheet shrunk to a card: 0.14, 0.26, 0.36 with 9, 18, 26 layers
    assert red == pytest.approx(layers * black, rel=0.1)  # the picture is as large as a map


def test_a_long_name_leaves_room_for_the_maps():
    panels = [Panel(str(number), np.ones((4, 4))) for number in range(2, 20)]
    found = pixels(small_sheet(np.zeros((8, 8, 3)), panels, f"{'abc_' * 60}\ntaken for {'wide ' * 40}"))
    assert found.shape == (360, 360, 3)
    assert (found[..., 0] > found[..., 2] + 60).mean() > 0.4


def test_what_is_within_its_error_is_pale_and_signs_have_their_colours():
    values = np.array([[1.0, -1.0]])
    for error, pale in ((0.1, False), (2.0, True)):
        (shown,) = [Panel("2", values, np.full((1, 2), error))]
        found = pixels(small_sheet(np.zeros((8, 8, 3)), [shown], "a"))
        red, blue = ((found[..., one] - found[..., other]).max() for one, other in ((0, 2), (2, 0)))
        assert [red < 60, blue < 60] == [pale, pale]
        assert pixels(small_sheet(np.zeros((8, 8, 3)), [shown], "a", pale=False)).min() == 0


@pytest.mark.parametrize("count", [1, 2, 7, 19, 61])
def test_no_other_number_of_columns_has_larger_maps(count):
    columns, side = largest(count, SIDE, 3.2, 0.12)
    rows = -(-count // columns)
    assert columns * (side + GAP) <= SIDE + 1e-9
    assert rows * (side + GAP + 0.12) <= 3.2 + 1e-9
    for other in range(1, count + 1):
        assert min(SIDE / other - GAP, 3.2 / -(-count // other) - GAP - 0.12) <= side
