"""What lies within twice its standard error is drawn pale, and the picture says so."""

import io

import numpy as np
import pytest
from PIL import Image

from layershap.plots import canvas, sheets
from layershap.plots.panel import Panel
from pictures import check_legible, drawn

HEATMAP = np.array([[1.0, 1.0, -1.0], [-1.0, 0.4, 0.4]])
ERROR = np.array([[0.49, 0.51, 0.49], [0.51, 0.19, 0.21]])
WITHIN = np.array([[False, True, False], [True, False, True]])
INPUT = np.zeros((2, 3, 3))


def sheet(panel, **options):
    return sheets.contact_sheet(INPUT, [panel, panel], "a heading\nof two lines", "logit", **options)


def plate(panel, **options):
    return sheets.plate(INPUT, [panel, panel], "a heading\nof two lines", "logit", **options)


def layer(panel, **options):
    return sheets.layer_picture(INPUT, panel, "a heading", "logit", **options)


def colours(figure) -> np.ndarray:
    """Return the colours [2, 3, 3] in 0..255 that the first heatmap's places have in the file."""
    pixels = np.asarray(Image.open(io.BytesIO(canvas.encode(figure))).convert("RGB")).astype(float)
    places = [[figure.axes[1].transData.transform((column, row)) for column in range(3)] for row in range(2)]
    return np.array([[pixels[len(pixels) - int(y), int(x)] for x, y in row] for row in places])


def says_so(figure) -> bool:
    return any(sheets.PALE_WORDS in text.replace("\n", " ") for text, _ in drawn(figure))


@pytest.mark.parametrize("draw", [sheet, plate, layer])
def test_within_twice_the_error_a_quarter_of_the_colour_is_left_on_white(draw):
    full, pale = colours(draw(Panel("a", HEATMAP))), colours(draw(Panel("a", HEATMAP, ERROR)))
    assert (np.ptp(full, axis=2) > 60).all()  # colours, not the white of a place beside the map
    np.testing.assert_allclose(pale[~WITHIN], full[~WITHIN], atol=1)
    np.testing.assert_allclose(pale[WITHIN], 255 - (255 - full[WITHIN]) / 4, atol=2)
    assert says_so(draw(Panel("a", HEATMAP, ERROR)))
    check_legible(draw(Panel("a", HEATMAP, ERROR)))


@pytest.mark.parametrize("draw", [sheet, plate, layer])
@pytest.mark.parametrize(
    ("error", "options"), [(ERROR, {"pale": False}), (np.full((2, 3), np.nan), {})], ids=["off", "one reference"]
)
def test_without_the_switch_or_the_error_nothing_is_pale_and_nothing_is_said(draw, error, options):
    figure = draw(Panel("a", HEATMAP, error), **options)
    np.testing.assert_array_equal(colours(figure), colours(draw(Panel("a", HEATMAP))))
    assert not says_so(figure)


@pytest.mark.parametrize("draw", [sheet, plate])
def test_the_limit_and_the_colour_bar_are_those_of_all_places(draw):
    some, none = draw(Panel("a", HEATMAP, ERROR)), draw(Panel("a", HEATMAP))
    assert [axis.get_title() for axis in some.axes] == [axis.get_title() for axis in none.axes]
    bars = []
    for figure in (some, none):
        pixels = np.asarray(Image.open(io.BytesIO(canvas.encode(figure))).convert("RGB"))
        x, y = figure.axes[-1].transAxes.transform((0.5, 0.95))
        bars.append(pixels[len(pixels) - int(y), int(x)].astype(int))
    np.testing.assert_allclose(bars[0], bars[1], atol=4)
    assert bars[1][0] - bars[1][2] > 60  # dark red
