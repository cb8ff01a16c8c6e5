"""The contact sheet of one explained image, with a heading that says what every map sums to."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from layershap.explain.explanations import panels
from layershap.explain.result import LayerExplanation
from layershap.plots import sheets

Explained = Mapping[tuple[int, str], LayerExplanation]  # by number and name of the layer


def explained_sheet(
    image: np.ndarray,
    explained: Explained,
    decision: str,
    compared: str,
    unit: str,
    *,
    grouped: bool = False,
    pale: bool = True,
    inside: np.ndarray | None = None,
) -> Figure:
    """Draw `image` [H, W, 3] in 0..1 and the heatmaps of its layers.

    `decision`: the image and what it was taken for. `compared`: what the references are. `unit`: of the values.
    `grouped`: larger, with a row for each resolution. `pale`: draw pale what is within twice its standard error.
    `inside` [h, w]: shares of the image's places inside a mask, whose outline is drawn.
    """
    first = next(iter(explained.values()))
    shown = panels(explained.values(), [f"{number} {name}" for number, name in explained])
    sums = sheets.sums_line(unit, float(first.expected[0]), float(first.total[0]), compared, shown)
    draw = sheets.plate if grouped else sheets.contact_sheet
    return draw(image, shown, f"{decision}\n{sums}", unit, pale=pale, inside=inside)
