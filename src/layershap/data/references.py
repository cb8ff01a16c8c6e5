"""The training images that are kept with a model, for explanations to compare with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from layershap.data.features import read_pixels, to_batch
from layershap.explain.references import choose_references
from layershap.workspace.files import replacing

REFERENCES = 10  # half of each class


def save_references(files: Sequence[Path], targets: Sequence[int], size: int, seed: int, target: Path) -> None:
    """Write to `target` the pixels of REFERENCES training images (fewer if there are no more), half of each class."""
    chosen = choose_references(targets, min(REFERENCES, len(targets)), seed)
    pixels = np.stack([read_pixels(files[row], size) for row in chosen])
    with replacing(target) as partial, partial.open("wb") as file:
        np.savez(file, images=pixels)


def load_references(path: Path) -> Tensor:
    """Return what save_references wrote as [N, 3, size, size], float32 in 0..1."""
    with np.load(path) as content:
        return to_batch(list(content["images"]))
