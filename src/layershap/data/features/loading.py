"""Images as tensors, one batch after the other, read in this process or in workers beside it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layershap.data.images import RefusedImageError, read_image, resize
from layershap.data.workers import in_order
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError

See = Callable[[np.ndarray, int, int], np.ndarray]


def loaded(
    paths: Sequence[Path], size: int, slices: Sequence[slice], workers: int, description: str
) -> Iterator[tuple[slice, Tensor]]:
    """Yield each of the slices with the images of these `paths` [N, 3, size, size], float32 in 0..1, in order.

    `workers`: processes that read ahead, at most two batches each; 0: this process reads. The same bytes either way.
    A progress bar says `description`. Raises InputError, which names the file, for an image that cannot be read.
    """
    for rows, pixels in _in_turn(partial(_read, paths, size), slices, workers, description):
        yield rows, to_batch(pixels)


def loaded_in_views(
    paths: Sequence[Path],
    size: int,
    see: See,
    views: int,
    slices: Sequence[slice],
    workers: int,
    description: str,
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield each of the slices with its images as `loaded` does, a tensor for each of so many views.

    `see`: from an image [size, size, 3] of 8 bits, its place in `paths` and the number of a view to the image in that
    view, by workers as well.
    """
    task = partial(_read_views, paths, size, see, views)
    for rows, pixels in _in_turn(task, slices, workers, description):
        yield rows, [to_batch(view) for view in pixels]


def _in_turn(
    task: Callable[[slice], np.ndarray], slices: Sequence[slice], workers: int, description: str
) -> Iterator[tuple[slice, np.ndarray]]:
    pictures = in_order(task, slices, workers)
    with progress_bar(total=sum(rows.stop - rows.start for rows in slices), desc=description, unit="image") as progress:
        for rows, pixels in zip(slices, pictures, strict=True):
            yield rows, pixels
            progress.update(rows.stop - rows.start)


def _read(paths: Sequence[Path], size: int, rows: slice) -> np.ndarray:
    """Return images [N, size, size, 3] of 8 bits."""
    return np.stack([read_again(path, size) for path in paths[rows]])


def _read_views(paths: Sequence[Path], size: int, see: See, views: int, rows: slice) -> np.ndarray:
    """Return images [views, N, size, size, 3] of 8 bits."""
    pictures = _read(paths, size, rows)
    found = [
        [see(picture, rows.start + place, view) for place, picture in enumerate(pictures)] for view in range(views)
    ]
    return np.array(found)


def read_again(path: Path, size: int) -> np.ndarray:
    """Read an image that fetch has accepted, as [size, size, 3] of 8 bits. Raises InputError, which names the file."""
    try:
        return read_pixels(path, size)
    except RefusedImageError as error:
        raise InputError(f"{path}: {error}; it was readable when it was fetched: run 'dvc repro' again") from None


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
