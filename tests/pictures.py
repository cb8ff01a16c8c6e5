"""What stands in a picture, and whether it can be read."""

import io
import itertools

import numpy as np
from matplotlib.text import Text

from layershap.plots import canvas


def drawn(figure) -> list[tuple[str, np.ndarray]]:
    """Return every visible text and its box in pixels, (left, bottom, right, top)."""
    with canvas.style():
        figure.savefig(io.BytesIO(), format="png", dpi=figure.dpi)
    hidden = set()  # ticks beyond the ends of their axis
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not axis.axes.axison or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                hidden |= {tick.label1, tick.label2}
    found = []
    for text in set(figure.findobj(Text)) - hidden:
        box = text.get_window_extent().extents
        if text.get_visible() and text.get_text().strip() and np.isfinite(box).all():
            found.append((text.get_text(), box))
    return found


def check_legible(figure):
    """Nothing stands beyond the edges, and no text over another."""
    texts = drawn(figure)
    right, top = figure.bbox.extents[2:]
    for text, box in texts:
        assert box[0] >= -1 and box[1] >= -1 and box[2] <= right + 1 and box[3] <= top + 1, (text, box, right, top)
    for (one, a), (two, b) in itertools.combinations(texts, 2):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        assert not (width > 1.5 and height > 2.5), (one, two)
