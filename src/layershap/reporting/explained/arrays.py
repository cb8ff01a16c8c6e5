"""Heatmaps of all explained images as arrays on disk, a file for each layer and kind; memory does not grow with them.

stored.py reads them, as does numpy alone: np.load(file, mmap_mode="r").
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from layershap.data.features.space import take_space
from layershap.reporting.contact_sheet import Explained
from layershap.workspace import paths

KINDS = ("heatmap", "standard_error", "own", "reference", "prefix")  # fields of LayerExplanation


def layer_arrays(explained: Explained) -> dict[str, np.ndarray]:
    """Return what is kept of one image, by file name: maps [H, W] and prefixes [], float32; kinds without are left out.

    `explained`: of one image, on the processor.
    """
    return {
        paths.layer_array_name(number, layer, kind): values[0].numpy().astype(np.float32, copy=False)
        for (number, layer), found in explained.items()
        for kind in KINDS
        if (values := getattr(found, kind)) is not None
    }


def write_arrays(folder: Path, count: int, images: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Write the arrays of `count` images as `folder`/<file name>, each [count, ...] float32, an image at a time.

    Raises ValueError where an image has other arrays than the first, OSError where the disk has no room for all.
    """
    folder.mkdir(parents=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for index, arrays in enumerate(images):
        found = {name: values.shape for name, values in arrays.items()}
        if not shapes:
            shapes = found
            for name, shape in shapes.items():
                np.lib.format.open_memmap(folder / name, "w+", np.float32, (count, *shape))
                take_space(folder / name)
        if found != shapes:
            raise ValueError(f"image {index} has other arrays than the first: {sorted(found.items() ^ shapes.items())}")
        for name, values in arrays.items():
            # opened anew each time: hundreds of files at once are more than some systems allow
            np.lib.format.open_memmap(folder / name, "r+")[index] = values
