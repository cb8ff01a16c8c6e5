"""Every picture. The bytes of a file depend on its content alone (fixed back end, no time stamp)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

SIGNED = "RdBu_r"


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(figure))


def encode(figure: Figure) -> bytes:
    """Return `figure` as the bytes of a PNG file and close it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()


def unit(output: str, classes: Sequence[str]) -> str:
    """Return what the values of an explanation are in (see explain.outputs)."""
    if len(classes) == 2:
        second = classes[1]
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
    figure = plt.figure(figsize=(1.75 * columns + 1.1, 2.0 * rows + 0.95), layout="constrained")
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
    _scale(figure, shown, list(axes), unit)
    figure.suptitle(heading, fontsize=11)
    return figure


def plate(image: np.ndarray, heatmaps: Sequence[np.ndarray], titles: Sequence[str], heading: str, unit: str) -> Figure:
    """Draw the input and the `heatmaps` in groups, as the plates of Banerjee and Chu (2022): a row per resolution, with
    the input at its head; scales as on the contact sheet."""
    shapes = list(dict.fromkeys(heatmap.shape for heatmap in heatmaps))
    groups = [[pair for pair in zip(heatmaps, titles, strict=True) if pair[0].shape == shape] for shape in shapes]
    columns = 1 + max(len(group) for group in groups)
    figure = plt.figure(figsize=(2.1 * columns + 1.1, 2.3 * len(groups) + 0.95), layout="constrained")
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
    _scale(figure, shown, list(axes.ravel()), unit)
    figure.suptitle(heading, fontsize=11)
    return figure


def _scale(figure: Figure, shown: Any, axes: list[Axes], unit: str) -> None:
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, aspect=30, extend="both")
    bar.set_label(
        f"SHAP value in multiples of the layer's limit ± in its title\n({unit} per 1 % of the image's area)", fontsize=9
    )


def layer_picture(image: np.ndarray, heatmap: np.ndarray, error: np.ndarray, heading: str, unit: str) -> Figure:
    """Draw the input, one layer's heatmap and its standard error over the references, with the layer's own scale."""
    figure = plt.figure(figsize=(9.0, 3.3), layout="constrained")
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
    figure.suptitle(f"{heading}\n{unit} per 1 % of the image's area", fontsize=10)
    return figure


def layers_curve(tables: dict[str, tuple[np.ndarray, np.ndarray]], numbers: Sequence[int], unit: str) -> Figure:
    """Draw positive and negative sums of every image against the layer number."""
    figure = plt.figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    for name, (positive, negative) in tables.items():
        (line,) = axis.plot(numbers, positive, marker=".", label=name)
        axis.plot(numbers, negative, marker=".", color=line.get_color())
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.set(xlabel="layer", ylabel=f"sum of values above / below 0 ({unit})", title="Contributions by layer")
    axis.set_xticks(list(numbers))
    axis.legend(fontsize=7, ncols=2)
    return figure


def learning_curve(rows: Sequence[dict[str, float]], best_epoch: int) -> Figure:
    """Draw loss and accuracy by epoch, the kept epoch marked."""
    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] + 1 for row in rows]
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        for part in ("train", "val"):
            axis.plot(epochs, [row[f"{part}_{name}"] for row in rows], marker=".", label=part)
        axis.axvline(best_epoch + 1, color="0.6", linestyle=":", label="kept")
        axis.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} by epoch")
        axis.legend()
    return figure


def confusion(targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix in images."""
    side = 3.2 + 0.45 * len(classes)
    figure = plt.figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        targets,
        predicted,
        labels=list(range(len(classes))),
        display_labels=list(classes),
        cmap="Blues",
        ax=axis,
    )
    axis.set(title="Test images by class", xlabel="predicted class", ylabel="true class")
    return figure


def reliability(confidence: np.ndarray, accuracy: np.ndarray, images: np.ndarray) -> Figure:
    """Draw accuracy against confidence, with the number of images of each bin."""
    figure = plt.figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="as sure as right")
    axis.plot(confidence, accuracy, marker="o", label="test images")
    for x, y, count in zip(confidence, accuracy, images, strict=True):
        axis.annotate(str(int(count)), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axis.set(
        xlabel="confidence (probability of the predicted class)",
        ylabel="share of right decisions",
        title="Reliability (numbers: images)",
        xlim=(float(min(confidence.min(), 0.5)) - 0.03, 1.02),
        ylim=(-0.02, 1.02),
    )
    axis.legend()
    return figure


def mistakes(images: Sequence[np.ndarray], captions: Sequence[str], wrong: int, count: int) -> Figure:
    """Draw the surest wrong decisions, the surest first; `wrong` of `count` decisions were wrong."""
    columns = min(6, max(len(images), 1))
    rows = max(-(-len(images) // columns), 1)
    figure = plt.figure(figsize=(max(2.1 * columns, 4.5), 2.5 * rows + 0.5), layout="constrained")
    axes: list[Axes] = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axis in axes:
        axis.set_axis_off()
    for axis, image, caption in zip(axes, images, captions, strict=False):
        axis.imshow(image)
        axis.set_title(caption, fontsize=8)
    figure.suptitle(f"The surest of {wrong} mistakes on {count} test images" if wrong else "No mistakes", fontsize=11)
    return figure


def picture(image: Any) -> np.ndarray:
    """Return a tensor [3, H, W] in 0..1 as an array [H, W, 3] for drawing."""
    return np.clip(np.asarray(image).transpose(1, 2, 0), 0.0, 1.0)
