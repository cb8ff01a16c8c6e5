"""A contact sheet for the cards of MLflow's image grid: a square of a few hundred pixels, of which most is heatmap."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from layershap.data.images import read_image, resize
from layershap.plots import canvas, words
from layershap.plots.panel import Panel
from layershap.plots.sheets import SIGNED, density, signed_limit, strength
from layershap.reporting.explained.images import read_images
from layershap.reporting.explained.stored import StoredMaps
from layershap.workspace import paths

SIDE = 3.6  # inches: 360 pixels
LETTERS = 6.5  # points
GAP = 0.04  # inches between two maps


def small_sheets(size: int, pale: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and PNG of the sheet of each class's first image that has pictures, from what stage explain wrote.

    `size`: pixels a side that the network sees. `pale`: draw pale what is within twice its standard error.
    """
    stored = StoredMaps()
    numbers = sorted({int(number) for number in pd.read_csv(paths.LAYERS_TABLE)["layer"]})
    images = read_images()
    for row in images[images["picture"] == 1].drop_duplicates("label").to_dict("records"):
        shown = np.asarray(resize(read_image(paths.RAW / row["path"]), size)) / 255
        panels = [
            Panel(str(number), stored.maps(number, [row["name"]])[0], _error(stored, number, row["name"]))
            for number in numbers
        ]
        decision = f"taken for {row['predicted']} ({float(row['probability']):.0%} sure)"
        yield row["name"], canvas.encode(small_sheet(shown, panels, f"{row['name']}\n{decision}", pale=pale))


@canvas.style()
def small_sheet(image: np.ndarray, panels: Sequence[Panel], heading: str, *, pale: bool = True) -> Figure:
    """Draw the input [H, W, 3] in 0..1, numbered 1, and all heatmaps with their titles, in rows that fill a square.

    Each in multiples of its own limit, as on a contact sheet; what that is stands there.
    """
    figure = canvas.blank(SIDE, SIDE)
    heading = words.wrapped(words.spelled(heading), SIDE - 0.1, LETTERS, lines=4)
    line = words.height("\n", LETTERS)
    top = words.height(f"{heading}\n", LETTERS) + GAP
    figure.text(0.5, 1 - GAP / SIDE, heading, ha="center", va="top", fontsize=LETTERS)
    columns, side = largest(len(panels) + 1, SIDE - GAP, SIDE - top, line)
    left = (SIDE - columns * (side + GAP) + GAP) / 2
    for place, panel in enumerate([None, *panels]):
        row, column = divmod(place, columns)
        across, down = left + column * (side + GAP), top + row * (side + GAP + line) + line
        axis = figure.add_axes((across / SIDE, 1 - (down + side) / SIDE, side / SIDE, side / SIDE))
        if panel is None:
            axis.imshow(image)
        else:
            values = density(panel.heatmap)
            scale: dict[str, Any] = {"cmap": SIGNED, "vmin": -1, "vmax": 1, "interpolation": "nearest"}
            axis.imshow(values / signed_limit(values), alpha=strength(panel, pale), **scale)
        axis.set_title("1" if panel is None else panel.title, fontsize=LETTERS, pad=1)
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set(color="0.8", linewidth=0.5)
    return figure


def largest(count: int, width: float, height: float, line: float) -> tuple[int, float]:
    """Return in how many columns `count` squares, each under a `line`, are largest in this room, and their side."""
    sides = [
        (min((width / columns) - GAP, height / math.ceil(count / columns) - GAP - line), columns)
        for columns in range(1, count + 1)
    ]
    side, columns = max(sides)
    return columns, side


def _error(stored: StoredMaps, layer: int, image: str) -> np.ndarray | None:
    try:
        return stored.maps(layer, [image], "standard_error")[0]
    except KeyError:
        return None
