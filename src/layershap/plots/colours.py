"""One heatmap as a small picture of its own pixels, for a page that scales it."""

import io

import matplotlib
import numpy as np
from PIL import Image

from layershap.plots.sheets import PALE, SIGNED

LEVELS = 128  # of colour; twice as many with the pale ones, which is what a PNG file's palette holds


def palette() -> np.ndarray:
    """Return the colours of the signed scale, from -1 to 1, then the same pale: [2 LEVELS, 3] in 0..255."""
    colours = matplotlib.colormaps[SIGNED](np.linspace(0, 1, LEVELS))[:, :3]
    both = np.concatenate([colours, 1 - PALE * (1 - colours)])
    return np.round(both * 255).astype(np.uint8)


def picture(values: np.ndarray, pale: np.ndarray | None = None) -> bytes:
    """Return `values` [H, W] in -1..1 (larger ones are cut) as the bytes of a PNG file of H x W pixels.

    `pale` [H, W]: truths, where to draw pale. NaN is drawn as 0.
    """
    cut = np.nan_to_num(np.clip(values, -1, 1))
    index = np.round((cut + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
    if pale is not None:
        index = index + np.where(pale, LEVELS, 0).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return file.getvalue()


def shrunk(values: np.ndarray, side: int) -> np.ndarray:
    """Return `values` [H, W], as means over squares of a whole number of pixels, with no side above `side`."""
    step = -(-max(values.shape) // side)
    height, width = (-(-length // step) for length in values.shape)
    if step == 1:
        return values
    padded = np.full((height * step, width * step), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    means: np.ndarray = np.nanmean(padded.reshape(height, step, width, step), axis=(1, 3))
    return means
