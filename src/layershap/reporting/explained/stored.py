"""Reading the heatmaps that stage explain wrote, in pieces: needs numpy alone."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layershap.workspace import paths


class StoredMaps:
    """The maps of all explained images below a folder `explanations/`.

    images: the rows of images.csv, text by column, in the order of the arrays. Reading a few images of a layer takes
    memory for these alone:

        stored = StoredMaps()
        stored.maps("block6", slice(0, 4))                        # [4, H, W]
        stored.maps(8, ["defective-cell0013"], "standard_error")  # [1, H, W]
    """

    def __init__(self, folder: Path = paths.EXPLANATIONS):
        self.folder = folder / paths.EXPLAINED_ARRAYS.name
        with (folder / paths.EXPLAINED_IMAGES.name).open(encoding="utf-8", newline="") as file:
            self.images: list[dict[str, str]] = list(csv.DictReader(file))

    @property
    def names(self) -> list[str]:
        """Return the names of the images' pictures, in the order of the arrays."""
        return [row["name"] for row in self.images]

    def maps(
        self, layer: int | str, images: slice | Sequence[str] = slice(None), kind: str = "heatmap"
    ) -> np.ndarray:  # fmt: skip
        """Return the maps [N, H, W] float32 of a layer, in units of the explained output.

        `layer`: number or name. `images`: a slice of the order of images.csv (read only where it is used), or names of
        pictures. `kind`: heatmap, standard_error, own, reference, or prefix ([N]). Raises KeyError for a layer, a name
        or a kind that is not there.
        """
        array: np.ndarray = np.load(self._file(layer, kind), mmap_mode="r")
        if isinstance(images, slice):
            return array[images]
        places = {name: place for place, name in enumerate(self.names)}
        if unknown := [name for name in images if name not in places]:
            raise KeyError(f"not among the {len(places)} explained images: {', '.join(unknown)}")
        return np.asarray(array[[places[name] for name in images]])

    def _file(self, layer: int | str, kind: str) -> Path:
        start, end = (f"{layer:02d}_", f"_{kind}.npy") if isinstance(layer, int) else ("", "")
        wanted = "" if isinstance(layer, int) else paths.layer_array_name(0, layer, kind).partition("_")[2]
        found = [
            file
            for file in sorted(self.folder.iterdir())
            if (file.name.startswith(start) and file.name.endswith(end) and not wanted)
            or (wanted and file.name.partition("_")[2] == wanted)
        ]
        if len(found) != 1:
            said = "is not there" if not found else "is there several times; give its number"
            raise KeyError(f"{kind} of layer {layer} {said} ({self.folder})")
        return found[0]
