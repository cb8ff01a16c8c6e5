"""A curve with its interval, drawn alike in all pictures of the studies."""

from typing import Any

from matplotlib.axes import Axes


def band(axis: Axes, places: Any, mean: Any, low: Any, high: Any, label: str) -> None:
    """Draw `mean` over `places`, and its interval from `low` to `high` as a band; sequences of equal length."""
    (line,) = axis.plot(places, mean, marker=".", label=label)
    axis.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
