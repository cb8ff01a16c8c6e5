"""The contact sheet of one explained image, with a heading that says what every map sums to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from layershap.reporting import figures

if TYPE_CHECKING:
    from layershap.explain import LayerExplanation

Explained = Mapping[tuple[int, str], "LayerExplanation"]  # by number and name of the layer


def explained_sheet(
    image: np.ndarray, explained: Explained, decision: str, compared: str, unit: str, grouped: bool = False
) -> Figure:
    """Draw `image` [H, W, 3] in 0..1 and the heatmaps of its layers.

    `decision`: the image and what it was taken for. `compared`: what the references are. `unit`: of the values.
    `grouped`: larger, with a row for each resolution.
    """
    heatmaps = [found.heatmap[0].numpy() for found in explained.values()]
    titles = [f"{number} {name}" for number, name in explained]
    first = next(iter(explained.values()))
    expected, total = float(first.expected[0]), float(first.total[0])
    heading = (
        f"{decision}\n{unit}: {total + expected:.3f} = {expected:.3f} ({compared}) {total:+.3f} (sum of every map)"
    )
    draw = figures.plate if grouped else figures.contact_sheet
    return draw(image, heatmaps, titles, heading, unit)
