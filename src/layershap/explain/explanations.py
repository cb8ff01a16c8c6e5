"""What comes out for a network: the explanations of its layers, and their picture."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from layershap.explain.result import LayerExplanation
from layershap.plots.panel import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Explanations(dict[str, LayerExplanation]):
    """LayerExplanation by name of the layer, in the network's order; `output`: what was explained, margin, say."""

    def __init__(self, layers: Mapping[str, LayerExplanation], output: str = "output"):
        super().__init__(layers)
        self.output = output

    def plot(
        self,
        image: Any,
        *,
        index: int = 0,
        titles: Sequence[str] | None = None,
        pale: bool = True,
        unit: str | None = None,
    ) -> "Figure":
        """Draw an image and its heatmaps of all layers; a notebook shows the figure, `savefig` writes it.

        image: [3, H, W] or [H, W, 3], one colour or three, or the batch [N, 3, H, W] that was explained; a tensor or
        an array. Floats in 0..1 and bytes are shown as they are; others, a normalised image for example, are scaled
        to 0..1 by their own range. `index`: which of the N explained images it is. `titles`: one for each layer
        (default: their names). `pale`: draw pale what is within twice its standard error, so that what stands out is
        beyond it. `unit`: of the explained output, for the heading and the colour bar.
        Every heatmap has its own limit ±, in its title, and where a layer has tokens before its grid, their sum.
        Raises ImportError without matplotlib, ValueError for an image of another shape or a wrong number of titles,
        IndexError for an index that is none.
        """
        try:
            from layershap.plots import sheets
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            raise ImportError("pictures need matplotlib: pip install 'layershap[plots]'") from None
        titles = list(self) if titles is None else list(titles)
        if len(titles) != len(self):
            raise ValueError(f"{len(titles)} titles for {len(self)} layers")
        first = next(iter(self.values()))
        shown = panels(self.values(), titles, index)
        unit = f"{self.output} of the explained class" if unit is None else unit
        expected, total = float(first.expected[index]), float(first.total[index])
        heading = sheets.sums_line(unit, expected, total, "mean of the references", shown)
        return sheets.contact_sheet(drawable(image, index), shown, heading, unit, pale=pale, input_title="input")


def panels(layers: Iterable[LayerExplanation], titles: Iterable[str], index: int = 0) -> list[Panel]:
    """Return what a picture shows of each layer for image `index` of those explained."""
    return [
        Panel(
            title,
            _array(layer.heatmap[index]),
            _array(layer.standard_error[index]),
            None if layer.prefix is None else float(layer.prefix[index]),
        )
        for layer, title in zip(layers, titles, strict=True)
    ]


def drawable(image: Any, index: int = 0) -> np.ndarray:
    """Return an image as Explanations.plot takes it as [H, W, 3] in 0..1; of a batch the one at `index`."""
    pixels = _array(image)
    if pixels.ndim == 4:
        pixels = pixels[index]
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"image must be [3, H, W] or [H, W, 3], not {list(np.shape(image))}")
    pixels = pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(float)
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        pixels = (pixels - low) / max(high - low, 1e-12)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _array(values: Any) -> np.ndarray:
    """Return a tensor, on any device, or what else numpy reads as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
