"""Pictures of heatmaps, and of their sums by layer."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layershap.reporting import words
from layershap.reporting.canvas import encode, save, style

__all__ = [
    "SIGNED",
    "contact_sheet",
    "density",
    "encode",
    "layer_picture",
    "layers_curve",
    "picture",
    "plate",
    "save",
    "signed_limit",
    "style",
    "unit",
]

SIGNED = "RdBu_r"
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


def signed_limit(values: np.ndarray) -> float:
    """Return the half range of a signed colour scale: the 99.5th percentile of |value|, at least a tiny one."""
    return max(float(np.quantile(np.abs(values), 0.995)), 1e-12)


def density(heatmap: np.ndarray) -> np.ndarray:
    """Return SHAP values per 1 % of the image's area, so that maps of any resolution compare."""
    return heatmap * heatmap.size / 100.0


@style()
def contact_sheet(
    image: np.ndarray, heatmaps: Sequence[np.ndarray], titles: Sequence[str], heading: str, unit: str
) -> Figure:
    """Draw the input [H, W, 3] in 0..1 and all `heatmaps` in order.

    One colour scale for all, in multiples of each layer's limit, which stands in its title: low layers hold values a
    hundred times those of high ones that cancel, so that on one absolute scale most maps would be blank.
    """
    count = len(heatmaps) + 1
    columns = min(7, count)
    rows = -(-count // columns)
    titles = [words.wrapped(words.spelled(title), 1.7, 9) for title in titles]
    row_height = 2.0 + max(words.height(title, 9) for title in titles)
    figure, heading = _headed(1.75 * columns + 1.1, row_height * rows + 0.95, heading)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    axes[0].imshow(image)
    axes[0].set_title("1 input\n", fontsize=9)
    for axis, heatmap, title in zip(axes[1:], heatmaps, titles, strict=False):
        values = density(heatmap)
        limit = signed_limit(values)
        shown = axis.imshow(values / limit, cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(f"{title}\n{heatmap.shape[0]} x {heatmap.shape[1]}, ±{limit:.2g}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    _scale(figure, shown, list(axes), unit, row_height * rows)
    figure.suptitle(heading, fontsize=11)
    return figure


@style()
def plate(image: np.ndarray, heatmaps: Sequence[np.ndarray], titles: Sequence[str], heading: str, unit: str) -> Figure:
    """Draw the input and the `heatmaps` in groups, as the plates of Banerjee and Chu (2022): a row per resolution, with
    the input at its head; scales as on the contact sheet."""
    titles = [words.wrapped(words.spelled(title), 2.05, 9) for title in titles]
    shapes = list(dict.fromkeys(heatmap.shape for heatmap in heatmaps))
    groups = [[pair for pair in zip(heatmaps, titles, strict=True) if pair[0].shape == shape] for shape in shapes]
    columns = 1 + max(len(group) for group in groups)
    row_height = 2.3 + max(words.height(title, 9) for title in titles)
    figure, heading = _headed(2.1 * columns + 1.1, row_height * len(groups) + 0.95, heading)
    axes = np.atleast_2d(figure.subplots(len(groups), columns))
    for axis in axes.ravel():
        axis.set_axis_off()
    for row, group in zip(axes, groups, strict=True):
        height, width = group[0][0].shape
        row[0].imshow(image)
        row[0].set_title(f"1 input\nlayers of {height} x {width}", fontsize=9)
        for axis, (heatmap, title) in zip(row[1:], group, strict=False):
            values = density(heatmap)
            limit = signed_limit(values)
            shown = axis.imshow(values / limit, cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(f"{title}\n±{limit:.2g}", fontsize=9)
    _scale(figure, shown, list(axes.ravel()), unit, row_height * len(groups))
    figure.suptitle(heading, fontsize=11)
    return figure


def _headed(width: float, height: float, heading: str, size: float = 11) -> tuple[Figure, str]:
    """Return a figure with room for a heading of two lines and what it takes beyond them, and the wrapped heading."""
    note = words.note([heading]) if words.NOTE not in heading else ""
    heading = words.wrapped(words.spelled(heading) + note, width - 0.2, size)
    more = max(words.height(heading, size) - words.height("\n", size), 0.0)
    return plt.figure(figsize=(width, height + more), layout="constrained"), heading


def _scale(figure: Figure, shown: Any, axes: list[Axes], unit: str, height: float) -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, aspect=30, extend="both")
    text = f"SHAP value in multiples of the layer's limit ± in its title\n({unit} per 1 % of the image's area)"
    bar.set_label(words.wrapped(words.spelled(text), max(height, 1.8), 9), fontsize=9)


@style()
def layer_picture(image: np.ndarray, heatmap: np.ndarray, error: np.ndarray, heading: str, unit: str) -> Figure:
    """Draw the input, one layer's heatmap and its standard error over the references, with the layer's own scale."""
    figure, heading = _headed(9.0, 3.3, f"{heading}\n{unit} per 1 % of the image's area", 10)
    axes = figure.subplots(1, 3)
    maps, errors = density(heatmap), density(error)
    limit = signed_limit(maps)
    axes[0].imshow(image)
    axes[0].set_title("input", fontsize=9)
    shown = axes[1].imshow(maps, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
    axes[1].set_title("SHAP values, summed over maps", fontsize=9)
    figure.colorbar(shown, ax=axes[1], shrink=0.8, extend="both")
    if np.isfinite(errors).all():
        limit = max(float(errors.max()), 1e-12)
        shown = axes[2].imshow(errors, cmap="viridis", vmin=0, vmax=limit, interpolation="nearest")
        axes[2].set_title("standard error over references", fontsize=9)
        figure.colorbar(shown, ax=axes[2], shrink=0.8)
    else:
        axes[2].text(0.5, 0.5, "one reference:\nno standard error", ha="center", va="center", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(heading, fontsize=10)
    return figure


@style()
def layers_curve(tables: Mapping[str, tuple[np.ndarray, np.ndarray]], numbers: Sequence[int], unit: str) -> Figure:
    """Draw positive and negative sums of every image against the layer number, the names beside the curves.

    Of more than MOST_CURVES images: the mean, and the parts of the images between which half and all of them lie.
    """
    labels = words.fitted([words.spelled(name.replace("\n", " ")) for name in tables], LEGEND, 7, lines=3)
    needed = sum(0.16 + words.height(label, 7) for label in labels)
    many = len(tables) > MOST_CURVES
    wide = max(8.0, 3.0 + 0.22 * len(numbers))
    figure = plt.figure(figsize=(wide + (2.0 if many else LEGEND), 4.0 if many else max(4.0, needed + 0.5)))
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    if many:
        for side, colour in ((0, "C3"), (1, "C0")):
            _spread(axis, numbers, np.stack([table[side] for table in tables.values()]), colour, side == 0)
        labels = [f"mean of {len(tables)} images", "half of the images", "all images"]
        handles = axis.get_legend_handles_labels()[0]
    else:
        looks = itertools.product(("-", "--", ":", "-."), [f"C{number}" for number in range(10)])
        handles = []
        for (positive, negative), (line, colour) in zip(tables.values(), looks, strict=False):
            handles += axis.plot(numbers, positive, line, marker=".", color=colour)
            axis.plot(numbers, negative, line, marker=".", color=colour)
    axis.axhline(0, color="0.5", linewidth=0.8)
    y_label = words.wrapped(words.spelled(f"sum of values above / below 0 ({unit})"), 3.2, 10)
    axis.set(xlabel="layer", ylabel=y_label, title="Contributions by layer")
    axis.set_xticks(list(numbers))
    axis.tick_params(axis="x", labelsize=10 if len(numbers) <= 24 else 7)
    axis.legend(handles, labels, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    if any(words.note([name]) for name in (*tables, unit)):
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
