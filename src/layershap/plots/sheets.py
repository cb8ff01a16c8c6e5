"""Pictures of heatmaps: all layers of an image on one sheet, and one layer with its error.

With `pale`, a place whose value is less than twice its standard error is drawn pale: what stands out is beyond the
error. Where the error is not known, nothing is pale, and no words say so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layershap.plots import words
from layershap.plots.canvas import Picture, blank, style
from layershap.plots.panel import Panel

SIGNED = "RdBu_r"
PALE = 0.25  # what is left of a colour on white
PALE_WORDS = "pale: within twice its standard error"


def signed_limit(values: np.ndarray) -> float:
    """Return the half range of a signed colour scale: the 99.5th percentile of |value|; 1 where all are 0."""
    sizes = np.abs(values)
    return float(np.quantile(sizes, 0.995)) or float(sizes.max()) or 1.0


def density(heatmap: np.ndarray) -> np.ndarray:
    """Return SHAP values per 1 % of the image's area, so that maps of any resolution compare."""
    return heatmap * heatmap.size / 100.0


def strength(panel: Panel, pale: bool = True) -> np.ndarray | None:
    """Return how strong the colours of a heatmap are, PALE or 1 [H, W]; None where nothing can be pale."""
    if not pale or panel.error is None or not np.isfinite(panel.error).all():
        return None
    return np.where(np.abs(panel.heatmap) < 2 * panel.error, PALE, 1.0)


def sums_line(unit: str, expected: float, total: float, compared: str, panels: Sequence[Panel]) -> str:
    """Return the line of a heading that says what every map sums to; `compared`: what the references are."""
    summed = "sum of every map" if all(panel.prefix is None for panel in panels) else "every map with its prefix tokens"
    return f"{unit}: {total + expected:.3f} = {expected:.3f} ({compared}) {total:+.3f} ({summed})"


def prefix_words(panel: Panel) -> str:
    """Return what the tokens before the grid sum to, in words; nothing where there are none."""
    return "" if panel.prefix is None else f"prefix tokens {panel.prefix:+.2g}"


@style()
def contact_sheet(
    image: np.ndarray,
    panels: Sequence[Panel],
    heading: str,
    unit: str,
    *,
    pale: bool = True,
    input_title: str = "1 input",
    inside: np.ndarray | None = None,
) -> Figure:
    """Draw the input [H, W, 3] in 0..1 and all heatmaps in order; `inside`: as `outline` takes it.

    One colour scale for all, in multiples of each layer's limit, which stands in its title: low layers hold values a
    hundred times those of high ones that cancel, so that on one absolute scale most maps would be blank.
    """
    count = len(panels) + 1
    columns = min(7, count)
    rows = -(-count // columns)
    titles = [_title(panel, 1.7) for panel in panels]
    row_height = 2.0 + max(words.height(title, 9) for title in titles)
    figure, heading = _headed(1.75 * columns + 1.1, row_height * rows + 0.95, heading)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    axes[0].imshow(image)
    axes[0].set_title(f"{input_title}\n", fontsize=9)
    for axis, panel, title in zip(axes[1:], panels, titles, strict=False):
        shown, limit = _scaled(axis, panel, pale)
        axis.set_title(f"{title}\n{panel.heatmap.shape[0]} x {panel.heatmap.shape[1]}, {limit}", fontsize=9)
    for axis in axes:
        _frame(axis)
        outline(axis, inside)
    _scale(figure, shown, list(axes), unit, row_height * rows, _any_pale(panels, pale))
    figure.suptitle(heading, fontsize=11)
    return figure


@style()
def plate(
    image: np.ndarray,
    panels: Sequence[Panel],
    heading: str,
    unit: str,
    *,
    pale: bool = True,
    input_title: str = "1 input",
    inside: np.ndarray | None = None,
) -> Figure:
    """Draw the input and the heatmaps in groups, as the plates of Banerjee and Chu (2022): a row per resolution, with
    the input at its head; scales as on the contact sheet."""
    titles = [_title(panel, 2.05) for panel in panels]
    shapes = list(dict.fromkeys(panel.heatmap.shape for panel in panels))
    groups = [[pair for pair in zip(panels, titles, strict=True) if pair[0].heatmap.shape == shape] for shape in shapes]
    columns = 1 + max(len(group) for group in groups)
    row_height = 2.3 + max(words.height(title, 9) for title in titles)
    figure, heading = _headed(2.1 * columns + 1.1, row_height * len(groups) + 0.95, heading)
    axes = np.atleast_2d(figure.subplots(len(groups), columns))
    for row, group in zip(axes, groups, strict=True):
        height, width = group[0][0].heatmap.shape
        row[0].imshow(image)
        row[0].set_title(f"{input_title}\nlayers of {height} x {width}", fontsize=9)
        for axis, (panel, title) in zip(row[1:], group, strict=False):
            shown, limit = _scaled(axis, panel, pale)
            axis.set_title(f"{title}\n{limit}", fontsize=9)
    for axis in axes.ravel():
        _frame(axis)
        outline(axis, inside)
    _scale(figure, shown, list(axes.ravel()), unit, row_height * len(groups), _any_pale(panels, pale))
    figure.suptitle(heading, fontsize=11)
    return figure


@style()
def layer_picture(
    image: np.ndarray,
    panel: Panel,
    heading: str,
    unit: str,
    *,
    pale: bool = True,
    inside: np.ndarray | None = None,
) -> Figure:
    """Draw the input, one layer's heatmap and its standard error over the references, with the layer's own scale."""
    alpha = strength(panel, pale)
    units = f"{unit} per 1 % of the image's area" + ("" if alpha is None else f"; {PALE_WORDS}")
    heading = "; ".join(part for part in (heading, prefix_words(panel)) if part)
    figure, heading = _headed(9.0, 3.3, f"{heading}\n{units}", 10)
    axes = figure.subplots(1, 3)
    maps = density(panel.heatmap)
    limit = signed_limit(maps)
    axes[0].imshow(image)
    axes[0].set_title("input", fontsize=9)
    shown = axes[1].imshow(maps, cmap=SIGNED, vmin=-limit, vmax=limit, alpha=alpha, interpolation="nearest")
    axes[1].set_title("SHAP values, summed over maps", fontsize=9)
    figure.colorbar(shown, ax=axes[1], shrink=0.8, extend="both")
    if panel.error is not None and np.isfinite(panel.error).all():
        errors = density(panel.error)
        limit = float(errors.max()) or 1.0
        shown = axes[2].imshow(errors, cmap="viridis", vmin=0, vmax=limit, interpolation="nearest")
        axes[2].set_title("standard error over references", fontsize=9)
        figure.colorbar(shown, ax=axes[2], shrink=0.8)
    else:
        axes[2].text(0.5, 0.5, "one reference:\nno standard error", ha="center", va="center", fontsize=9)
    for axis in axes:
        _frame(axis)
        outline(axis, inside)
    figure.suptitle(heading, fontsize=10)
    return figure


def _title(panel: Panel, width: float) -> str:
    """Return the lines above a heatmap but the last, none wider than `width` inches."""
    lines = [words.wrapped(words.spelled(panel.title), width, 9), prefix_words(panel)]
    return "\n".join(line for line in lines if line)


def _scaled(axis: Axes, panel: Panel, pale: bool) -> tuple[Any, str]:
    """Draw a heatmap in multiples of its limit; return what a colour bar needs, and the limit in words."""
    values = density(panel.heatmap)
    limit = signed_limit(values)
    scale: dict[str, Any] = {"cmap": SIGNED, "vmin": -1, "vmax": 1, "interpolation": "nearest"}
    shown = axis.imshow(values / limit, alpha=strength(panel, pale), **scale)
    return shown, f"±{limit:.2g}" if values.any() else "all 0"


def _frame(axis: Axes) -> None:
    """Show a thin edge alone, without which a pale picture has none; nothing where no picture is."""
    if not axis.images:
        axis.set_axis_off()
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color="0.8", linewidth=0.5)


def outline(axis: Axes, inside: np.ndarray | None) -> None:
    """Draw the outline of a mask on the picture of an axis; nothing without either.

    `inside` [h, w]: which share of each place of the whole picture is inside, whatever the picture's own resolution.
    """
    if inside is None or not axis.images:
        return
    left, right, bottom, top = axis.images[0].get_extent()
    closed = np.pad(inside, 1)  # so that a mask that touches the edge is closed along it
    across, down = ((np.arange(count) - 0.5) / (count - 2) for count in closed.shape[::-1])
    places = (left + (right - left) * across.clip(0, 1), top + (bottom - top) * down.clip(0, 1))
    for colour, wide in (("white", 2.0), ("black", 0.9)):  # seen on bright and on dark
        axis.contour(*places, closed, levels=[0.5], colors=[colour], linewidths=wide)


def _any_pale(panels: Sequence[Panel], pale: bool) -> bool:
    return any(strength(panel, pale) is not None for panel in panels)


def _headed(width: float, height: float, heading: str, size: float = 11) -> tuple[Picture, str]:
    """Return a figure with room for a heading of two lines and what it takes beyond them, and the wrapped heading."""
    note = words.note([heading]) if words.NOTE not in heading else ""
    heading = words.wrapped(words.spelled(heading) + note, width - 0.2, size)
    more = max(words.height(heading, size) - words.height("\n", size), 0.0)
    return blank(width, height + more, layout="constrained"), heading


def _scale(figure: Figure, shown: Any, axes: list[Axes], unit: str, height: float, pale: bool) -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, aspect=30, extend="both")
    text = f"SHAP value in multiples of the layer's limit ± in its title\n({unit} per 1 % of the image's area)"
    text += f"\n{PALE_WORDS}" if pale else ""
    bar.set_label(words.wrapped(words.spelled(text), max(height, 1.8), 9), fontsize=9)
