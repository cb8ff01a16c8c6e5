"""The unit of the heatmaps, images to draw, and the sums of heatmaps by layer."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layershap.plots import words
from layershap.plots.canvas import blank, style

MOST_CURVES = 20  # images with a curve of their own
LEGEND = 2.6  # inches


def unit(output: str, classes: Sequence[str]) -> str:
    """Return what the values of an explanation are in (see explain.outputs)."""
    if len(classes) == 2:
        second = words.class_names(classes)[1]
        return {
            "margin": f"log odds of {second}",
            "logit": f"logit of {second}",
            "probability": f"P({second})",
        }[output]
    return f"{output} of the predicted class"


@style()
def layers_curve(
    tables: Mapping[str, Sequence[np.ndarray]],
    numbers: Sequence[int],
    unit: str,
    shown: Sequence[str] | None = None,
) -> Figure:
    """Draw positive and negative sums of images against the layer number, the names beside the curves.

    `tables`: by image, both sums of each layer, and in a network of tokens the sums over those before the grid, NaN in
    a layer without. `shown`: those with a curve of their own (None: all); the mean of all stands beside them where they
    are not all. Of more than MOST_CURVES images: the mean alone, and the parts of the images between which half and all
    of them lie.
    """
    many = len(tables) > MOST_CURVES
    own = {} if many else {name: tables[name] for name in (tables if shown is None else shown)}
    labels = words.fitted([words.spelled(name.replace("\n", " ")) for name in own], LEGEND, 7, lines=3)
    needed = sum(0.16 + words.height(label, 7) for label in labels)
    prefixes = [prefix for _, _, *more in tables.values() for prefix in more]
    wide = max(8.0, 3.0 + 0.22 * len(numbers))
    figure = blank(wide + (2.0 if many else LEGEND), 4.0 if many else max(4.0, needed + 0.5))
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    if many:
        for side, colour in ((0, "C3"), (1, "C0")):
            _spread(axis, numbers, np.stack([table[side] for table in tables.values()]), colour, side == 0)
        labels = [f"mean of {len(tables)} images", "half of the images", "all images"]
        handles = axis.get_legend_handles_labels()[0]
        if prefixes:
            _spread(axis, numbers, np.stack(prefixes), "C2", False)
            handles, labels = [*handles, axis.lines[-1]], [*labels, "prefix tokens"]
    else:
        looks = itertools.product(("-", "--", ":", "-."), [f"C{number}" for number in range(10)])
        handles = []
        for (positive, negative, *prefix), (line, colour) in zip(own.values(), looks, strict=False):
            handles += axis.plot(numbers, positive, line, marker=".", color=colour)
            axis.plot(numbers, negative, line, marker=".", color=colour)
            for sums in prefix:
                axis.plot(numbers, sums, "x", color=colour)
        if len(own) < len(tables):
            for side in (0, 1):
                mean = np.mean([table[side] for table in tables.values()], axis=0)
                line_of_all = axis.plot(numbers, mean, color="0.1", linewidth=2.5)
            handles += line_of_all
            labels = [*labels, f"mean of {len(tables)} images"]
        if prefixes:
            handles += axis.plot([], [], "x", color="0.3")
            labels = [*labels, "prefix tokens"]
    axis.axhline(0, color="0.5", linewidth=0.8)
    y_label = words.wrapped(words.spelled(f"sum of values above / below 0 ({unit})"), 3.2, 10)
    axis.set(xlabel="layer", ylabel=y_label, title="Contributions by layer")
    axis.set_xticks(list(numbers))
    axis.tick_params(axis="x", labelsize=10 if len(numbers) <= 24 else 7)
    axis.legend(handles, labels, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    if any(words.note([name]) for name in (*own, unit)):
        figure.supxlabel(words.NOTE, fontsize=8)
    return figure


def _spread(axis: Axes, numbers: Sequence[int], values: np.ndarray, colour: str, named: bool) -> None:
    """Draw the mean of `values` [images, layers], and the bands of half and of all of them."""
    axis.plot(numbers, values.mean(0), marker=".", color=colour, label="mean" if named else None)
    for name, low, high, alpha in (("half", 0.25, 0.75, 0.3), ("all", 0.0, 1.0, 0.12)):
        lower, upper = np.quantile(values, (low, high), axis=0)
        label = name if named else None
        axis.fill_between(numbers, lower, upper, color=colour, alpha=alpha, linewidth=0, label=label)


def picture(image: Any) -> np.ndarray:
    """Return a tensor [3, H, W] in 0..1 as an array [H, W, 3] for drawing."""
    return np.clip(np.asarray(image).transpose(1, 2, 0), 0.0, 1.0)
