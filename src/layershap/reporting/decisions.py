"""Pictures of training and of the decisions on the test images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from layershap.plots import words
from layershap.plots.canvas import blank, style

MOST_CELLS = 30  # classes of a matrix
MOST_PAIRS = 20
MOST_MISTAKES = 60
LABEL = 1.9  # inches of a class's name beside the matrix
CAPTION = 2.0  # inches


@style()
def learning_curve(rows: Sequence[dict[str, float]], best_epoch: int) -> Figure:
    """Draw loss and accuracy by epoch, the kept epoch marked."""
    figure = blank(9, 3.6, layout="constrained")
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
    """Draw the confusion matrix in images; with more than MOST_CELLS classes the most confused pairs."""
    draw = _matrix if len(classes) <= MOST_CELLS else _pairs
    return draw(confusion_matrix(targets, predicted, labels=list(range(len(classes)))), classes)


@style()
def _matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    names = words.class_names(classes)
    short = len(classes) <= 3 and max(words.width(name, 10) for name in names) <= 1.0
    size = 10 if short else 8
    labels = words.fitted(names, LABEL, size, lines=3)
    longest = max(words.width(line, size) for label in labels for line in label.split("\n"))
    # of a few classes with short names: names below each other's columns; otherwise upright
    cell = 0.45 if len(classes) > 3 else 1.1
    side = 3.2 + 0.45 * len(classes) if short else cell * len(classes) + longest + 1.4
    figure = blank(side + 0.8, side, layout="constrained" if short else "compressed")
    axis = figure.subplots()
    display = ConfusionMatrixDisplay(counts, display_labels=labels)
    display.plot(cmap="Blues", ax=axis, colorbar=False, xticks_rotation="horizontal" if short else "vertical")
    for text in () if short else display.text_.ravel():
        text.set_fontsize(min(10, 27 / len(text.get_text())))
    if short:
        figure.colorbar(display.im_, ax=axis)
    else:
        aspect = max(24.0, cell * len(classes) / 0.12)
        bar = figure.colorbar(display.im_, ax=axis, fraction=0.3 / side, pad=0.02, aspect=aspect)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(labelsize=size)
    title = words.wrapped(f"Test images by class{words.note(classes)}", side, 8)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_title(title, fontsize=12 if "\n" not in title else 8)
    return figure


@style()
def _pairs(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw the pairs with the most images of the one class taken for the other; equals in the order of the classes."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(int(place) // len(classes), int(place) % len(classes)) for place in order if wrong.flat[place]]
    if not pairs:
        return _line(f"No mistakes: {int(counts.sum())} test images of {len(classes)} classes")
    names = words.fitted(words.class_names(classes), 4.2, 8, lines=1)
    heights = [int(wrong[pair]) for pair in pairs]
    figure = blank(9.5, 1.6 + 0.38 * len(pairs), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh(range(len(pairs)), heights, height=0.6, color="C0")
    totals = [f" {height} of {int(counts[true].sum())}" for height, (true, _) in zip(heights, pairs, strict=True)]
    axis.bar_label(bars, totals, fontsize=8)
    axis.set_yticks(
        range(len(pairs)), [f"{names[true]}\ntaken for {names[taken]}" for true, taken in pairs], fontsize=8
    )
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("test images")
    lost = f"{int(wrong.sum())} of {int(counts.sum())} test images taken for another"
    heading = f"The {len(pairs)} most confused pairs of {len(classes)} classes: {lost}"
    figure.suptitle(words.wrapped(f"{heading}{words.note(classes)}", 9.3, 11), fontsize=11)
    return figure


@style()
def reliability(confidence: np.ndarray, accuracy: np.ndarray, images: np.ndarray) -> Figure:
    """Draw accuracy against confidence, with the number of images of each bin."""
    figure = blank(4.6, 4.2, layout="constrained")
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


@style()
def mistakes(images: Sequence[np.ndarray], captions: Sequence[str], wrong: int, count: int, note: str = "") -> Figure:
    """Draw the surest wrong decisions, the surest first; `wrong` of `count` decisions were wrong.

    `captions`: of each image as many lines as of the others; a long one is wrapped, and cut in its middle at the third
    line. Not more than MOST_MISTAKES are drawn, however many are given. `note`: more lines of the heading.
    """
    if not wrong:
        return _line(f"No mistakes on {count} test images")
    surest = f"The surest {MOST_MISTAKES}" if len(images) > MOST_MISTAKES else "The surest"
    images = images[:MOST_MISTAKES]
    shown = [
        "\n".join(words.wrapped(words.spelled(line), CAPTION, 8, 3) for line in caption.split("\n"))
        for caption in captions[:MOST_MISTAKES]
    ]
    columns = min(6, max(len(images), 1))
    rows = max(-(-len(images) // columns), 1)
    more = max([0.0, *(words.height(text, 8) - words.height("\n\n", 8) for text in shown)])
    width = max(2.1 * columns, 4.5)
    heading = words.wrapped(f"{surest} of {wrong} mistakes on {count} test images{note}", width - 0.2, 11)
    height = (2.5 + more) * rows + 0.5 + words.height(heading, 11)
    figure = blank(width, height, layout="constrained")
    axes: list[Axes] = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    if more:  # captions of several lines reach nearer to the heading than the layout knows
        figure.set_layout_engine("constrained", h_pad=0.1)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, caption in zip(axes, images, shown, strict=False):
        axis.imshow(image)
        axis.set_title(caption, fontsize=8)
    figure.suptitle(heading, fontsize=11)
    return figure


def _line(text: str) -> Figure:
    figure = blank(5.5, 0.6)
    figure.text(0.5, 0.5, text, fontsize=11, ha="center", va="center")
    return figure
