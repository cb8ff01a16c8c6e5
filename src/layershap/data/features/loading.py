"""Images as tensors, one batch after the other, read in this process or in workers beside it."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layershap.data.images import RefusedImageError, read_image, resize
from layershap.data.workers import in_order
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError


def loaded(
    paths: Sequence[Path], size: int, slices: Sequence[slice], workers: int, description: str
) -> Iterator[tuple[slice, Tensor]]:
    """Yield each of the slices with the images of these `paths` [N, 3, size, size], float32 in 0..1, in order.

    `workers`: processes that read ahead, at most two batches each; 0: this process reads. The same bytes either way.
    A progress bar says `description`. Raises InputError, which names the file, for an image that cannot be read.
    """
    pictures = in_order(partial(_read, size), [paths[rows] for rows in slices], workers)
    with progress_bar(total=sum(rows.stop - rows.start for rows in slices), desc=description, unit="image") as progress:
        for rows, pixels in zip(slices, pictures, strict=True):
            yield rows, to_batch(pixels)
            progress.update(rows.stop - rows.start)


def _read(size: int, paths: Sequence[Path]) -> np.ndarray:
    """Return images [N, size, size, 3] of 8 bits."""
    pictures = []
    for path in paths:
        try:
            pictures.append(read_pixels(path, size))
        except RefusedImageError as error:
            raise InputError(f"{path}: {error}; it was readable when it was fetched: run 'dvc repro' again") from None
    return np.stack(pictures)


def load_batch(paths: Sequence[Path], size: int) -> Tensor:
    """Read images as one tensor [N, 3, size, size], float32 in 0..1."""
    return to_batch([read_pixels(path, size) for path in paths])


def read_pixels(path: Path, size: int) -> np.ndarray:
    """Read an image as [size, size, 3] of 8 bits."""
    return np.asarray(resize(read_image(path), size))


def to_batch(pictures: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """Return pictures [H, W, 3] of 8 bits as one tensor [N, 3, H, W], float32 in 0..1."""
    stacked = pictures if isinstance(pictures, np.ndarray) else np.stack(pictures)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def in_batches(start: int, stop: int, size: int) -> list[slice]:
    """Return slices over the rows from `start` to `stop`, `size` at a time, the last one shorter."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def batches(count: int, size: int, description: str) -> Iterator[slice]:
    """Yield slices over `count` rows, `size` at a time, with a progress bar."""
    with progress_bar(total=count, desc=description, unit="image") as progress:
        for rows in in_batches(0, count, size):
            yield rows
            progress.update(rows.stop - rows.start)
