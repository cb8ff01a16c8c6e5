"""Pictures of the study of other faces."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

from layershap.plots.canvas import blank, save, style
from layershap.plots.sheets import SIGNED, signed_limit
from layershap.study.curves import band
from layershap.study.expectations import Results
from layershap.study.other_faces import GROUPS, Example

EXAMPLE_ROWS = 5  # layers shown of the example


def save_all(folder: Path, table: pd.DataFrame) -> None:
    """Write retrieval.png (can the reference be told from the map?) and references.png (sets of references)."""
    results = Results(table)
    _retrieval(folder / "retrieval.png", results)
    _references(folder / "references.png", results)


def curve(axis: Axes, results: Results, experiment: str, measure: str, label: str) -> None:
    """Draw a measure over the layers, its interval as a band."""
    rows = [results.row(experiment, measure, layer) for layer in results.layers]
    mean, low, high = ([row[column] for row in rows] for column in ("mean", "low", "high"))
    band(axis, results.layers, mean, low, high, label)


def _finish(axis: Axes, layers: Sequence[int], title: str, y_label: str) -> None:
    axis.set(xlabel="layer", ylabel=y_label, title=title)
    axis.set_xticks(list(layers))
    axis.tick_params(labelsize=8)
    _legend(axis)


def _legend(axis: Axes) -> None:
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


@style()
def _retrieval(path: Path, results: Results) -> None:
    figure = blank(12, 5.4, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for experiment, measure, label in (
        ("a same", "auc", "reference of the same class"),
        ("a other", "auc", "reference of another class"),
        ("h", "auc", "network with random weights"),
        ("g", "auc", "mirrored reference, mirrored candidates"),
        ("g", "auc unflipped", "mirrored reference, candidates as they were"),
        ("d mean", "auc", "explained against the mean image"),
        ("d blur", "auc", "explained against the blurred image"),
    ):
        curve(left, results, experiment, measure, label)
    for experiment, measure, label in (
        ("a other", "auc", "map"),
        ("a other", "auc reference", "reference part"),
        ("a other", "auc own", "own part"),
        ("a image path", "auc", "map on path image"),
        ("a other", "auc difference", "map, by difference from the image †"),
        ("h", "auc difference", "random weights, by difference †"),
    ):
        curve(right, results, experiment, measure, label)
    for axis in (left, right):
        axis.axhline(0.5, color="0.5", linestyle=":", linewidth=1)
    _finish(left, results.layers, "Can the reference be told from the map?", "AUC of the true reference (chance: 0.5)")
    _finish(right, results.layers, "Which part of the map tells it?", "")
    save(figure, path)


@style()
def _references(path: Path, results: Results) -> None:
    figure = blank(12, 10, layout="constrained")
    axes = figure.subplots(2, 2)
    for measure, label in (
        ("correlation", "map"),
        ("correlation own", "own part"),
        ("correlation reference", "reference part"),
    ):
        curve(axes[0, 0], results, "b", measure, f"two sets of 16, {label}")
    curve(axes[0, 0], results, "e", "correlation", "own class only against others only, map")
    _finish(axes[0, 0], results.layers, "The same image, other references", "correlation of the two maps")

    for experiment, label in (("a other", "1 reference"), ("b", "16 references")):
        curve(axes[0, 1], results, experiment, "share", label)
    _finish(axes[0, 1], results.layers, "What gives the map its variance", "share of the map's variance")

    strongest = max(results.layers, key=lambda layer: np.nan_to_num(results.mean("c", "others 1", layer)))
    layers = list({results.first: "-", strongest: "--", results.last: ":"}.items())
    for kind, label in (("others", "references' outlines"), ("own", "own outlines"), ("spread", "spread over sets")):
        for layer, line in layers:
            heights = [results.mean("c", f"{kind} {count}", layer) for count in GROUPS]
            colour = {"others": "C3", "own": "C0", "spread": "0.5"}[kind]
            axes[1, 0].plot(GROUPS, heights, line, marker=".", color=colour, label=f"{label}, layer {layer}")
    axes[1, 0].set(
        xscale="log",
        yscale="log",
        xlabel="references",
        ylabel="amplitude, of the map's mean size",
        title="More references",
    )
    axes[1, 0].set_xticks(GROUPS, [str(count) for count in GROUPS])
    # plain numbers: in our pictures nothing is read as a formula
    axes[1, 0].xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=True))
    axes[1, 0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[1, 0].yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    _legend(axes[1, 0])

    for kind, label in (("others", "references' outlines"), ("own", "own outlines"), ("spread", "spread over sets")):
        curve(axes[1, 1], results, "c", f"slope {kind}", label)
    axes[1, 1].axhline(-0.5, color="0.5", linestyle=":", linewidth=1)
    _finish(axes[1, 1], results.layers, "How fast it fades with more references", "slope of the log-log line")
    save(figure, path)


@style()
def save_example(folder: Path, shown: Example, layers: Mapping[str, int]) -> None:
    """Write example.png: one image, one reference, and the maps of some layers from the first to the last."""
    names = list(layers)
    rows = [names[round(place)] for place in np.linspace(0, len(names) - 1, min(EXAMPLE_ROWS, len(names)))]
    kinds = list(shown.maps)
    figure = blank(1.75 * (len(kinds) + 1) + 0.4, 1.85 * len(rows) + 0.8, layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(rows), len(kinds) + 1))
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, picture, title in zip(axes[:2, 0], (shown.image, shown.reference), ("image", "reference"), strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=9)
    for row, name in enumerate(rows):
        for column, kind in enumerate(kinds, 1):
            values = shown.maps[kind][name]
            limit = signed_limit(values - (values.mean() if "part" in kind else 0))
            centre = float(values.mean()) if "part" in kind else 0.0
            axis = axes[row, column]
            axis.imshow(values - centre, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set_title(f"{layers[name]} {name}: {kind}" if column == 1 else kind, fontsize=8)
    figure.suptitle(
        "One image against one reference, layer by layer; red speaks for the explained class, each on its own scale\n"
        "(own part less reference part is the map; both shown less their mean)",
        fontsize=10,
    )
    save(figure, folder / "example.png")
