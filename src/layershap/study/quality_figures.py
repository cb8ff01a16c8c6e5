"""The picture of the study of quality."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layershap.plots import words
from layershap.plots.canvas import blank, style
from layershap.study.curves import band
from layershap.study.quality import DEPTHS, SHARES


@style()
def quality_picture(table: pd.DataFrame, unit: str) -> Figure:
    """Draw sparseness and signs, faithfulness, replacement curves and weight randomisation over the layers."""
    unit = words.spelled(unit)
    figure = blank(13, 8, layout="constrained")
    axes = figure.subplots(2, 3)
    for measure, label in (
        ("agreeing share", "share with the sign of the sum"),
        ("gini", "Gini of |values|"),
        ("agreement", "correlation with the next layer"),
    ):
        _curve(axes[0, 0], table, measure, label)
    _finish(axes[0, 0], table, "Signs, sparseness, agreement", "share / coefficient")
    for measure, label in (
        ("deletion gain", "most important replaced first"),
        ("insertion gain", "most important kept to the last"),
    ):
        _curve(axes[0, 1], table, measure, label)
    axes[0, 1].axhline(0, color="0.5", linestyle=":", linewidth=1)
    _finish(axes[0, 1], table, "Faithfulness against random order", f"area between the curves ({unit})")
    _curve(axes[0, 2], table, "sensitivity-n", "subsets of a tenth of the features")
    axes[0, 2].axhline(0, color="0.5", linestyle=":", linewidth=1)
    _finish(axes[0, 2], table, "Sensitivity-n", "correlation of said and lost")
    for depth in DEPTHS:
        label = "head" if depth == 0 else f"head and upper {depth:.0%}" if depth < 1 else "all layers"
        _curve(axes[1, 0], table, f"likeness {depth:g}", label)
    _finish(axes[1, 0], table, "Weights shuffled from the head down", "correlation of |map| with the model's own")
    layers = sorted(table["layer"].unique())
    for axis, layer in ((axes[1, 1], layers[0]), (axes[1, 2], layers[-1])):
        part = table[table["layer"] == layer].set_index("measure")
        for kind, label in (
            ("deletion", "most important first"),
            ("random", "random order"),
            ("least first", "least important first"),
        ):
            rows = part.loc[[f"{kind} {share:g}" for share in SHARES]]
            band(axis, SHARES, rows["mean"], rows["low"], rows["high"], label)
        axis.set(
            xlabel=words.wrapped("share of the layer's features replaced by a reference's", 3.0, 10),
            ylabel=words.wrapped(f"f towards the image's side ({unit})", 3.2, 10),
            title=f"Replacing features of layer {layer} {part['name'].iloc[0]}",
        )
        axis.legend(fontsize=8)
    return figure


def _curve(axis: Axes, table: pd.DataFrame, measure: str, label: str) -> None:
    rows = table[table["measure"] == measure].sort_values("layer")
    band(axis, rows["layer"], rows["mean"], rows["low"], rows["high"], label)


def _finish(axis: Axes, table: pd.DataFrame, title: str, y_label: str) -> None:
    axis.set(xlabel="layer", ylabel=words.wrapped(y_label, 3.2, 10), title=title)
    axis.set_xticks(sorted(table["layer"].unique()))
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8)
