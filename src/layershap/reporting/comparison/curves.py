"""Learning curves of two models in one figure."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layershap.plots.canvas import blank, style

LINES = {"train": ":", "val": "-"}


@style()
def curves(first: pd.DataFrame | None, second: pd.DataFrame | None, measure: str) -> Figure:
    """Draw loss or accuracy (`measure`) by epoch of both: a colour for each model, dotted on the training images.

    `first`, `second`: tables as plots/learning_curve.csv, None without.
    """
    figure = blank(5.2, 3.6, layout="constrained")
    axis = figure.subplots()
    for name, table, colour in (("A", first, "C0"), ("B", second, "C1")):
        for part, line in LINES.items():
            if table is not None and f"{part}_{measure}" in table:
                label = f"{name}, {'training' if part == 'train' else 'validation'}"
                axis.plot(
                    table["epoch"] + 1, table[f"{part}_{measure}"], line, marker=".", color=colour, label=label
                )  # fmt: skip
    axis.set(xlabel="epoch", ylabel=measure, title=f"{measure.capitalize()} by epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8)
    return figure
