"""Pictures of where the heatmaps look: their share inside the masks by layer, and where they lie on average."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from layershap.plots import words
from layershap.plots.canvas import blank, style

COLUMNS = 7
MOST_TICKS = 24


@style()
def inside_curve(inside: Mapping[str, Any]) -> Figure:
    """Draw the shares inside the masks by layer with their 95 % intervals, beside the masks' share of the area.

    `inside`: of metrics/explain.json.
    """
    rows = inside["layers"]
    numbers = [row["number"] for row in rows]
    figure = blank(max(8.0, 3.0 + 0.22 * len(numbers)), 4.0, layout="constrained")
    axis = figure.subplots()
    shown = (("positive", "what speaks for the decision", "C3", "o"), ("size", "all values, by size", "C0", "s"),
             ("peak", "images whose peak is inside", "C2", "x"))  # fmt: skip
    for place, (name, label, colour, marker) in enumerate(shown):
        values, low, high = (np.array([row[f"{name}{end}"] for row in rows]) for end in ("", "_low", "_high"))
        at = np.array(numbers) + 0.14 * (place - 1)  # beside each other
        errors = np.stack([values - low, high - values]).clip(0)
        axis.errorbar(
            at, values, errors, color=colour, marker=marker, markersize=4, linewidth=1, capsize=2, label=label
        )
    most = [row["most"] for row in rows]
    axis.plot(numbers, most, color="0.6", linestyle=":", label="what maps this coarse can have at most")
    axis.axhline(inside["mask_area"], color="0.3", linestyle="--", label="the masks' share of the area")
    axis.set(xlabel="layer", ylabel="share inside the masks", ylim=(-0.03, 1.03))
    axis.set_title(f"Share inside the masks, {inside['images']} images, with 95 % intervals", fontsize=11)
    axis.set_xticks(numbers)
    axis.tick_params(axis="x", labelsize=10 if len(numbers) <= MOST_TICKS else 7)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    return figure


@style()
def mean_places(places: Mapping[str, np.ndarray]) -> Figure:
    """Draw for each layer, by its title, where what speaks for the decision lies [H, W], each on a scale of its own."""
    columns = min(COLUMNS, len(places))
    rows = -(-len(places) // columns)
    figure = blank(1.75 * columns, 2.1 * rows, layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, (title, values) in zip(axes, places.items(), strict=False):
        axis.imshow(values, cmap="viridis", vmin=0, vmax=float(values.max()) or 1.0, interpolation="nearest")
        axis.set_title(words.wrapped(words.spelled(title), 1.7, 9), fontsize=9)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        if not axis.images:
            axis.set_axis_off()
    return figure
