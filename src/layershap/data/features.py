"""The cache of frozen features: one array per view, in the order of the table of images, fp16, memory-mapped."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layershap.data.images import read_image, resize
from layershap.progress import progress_bar
from layershap.workspace.files import read_json, write_json

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "original": lambda images: images,
    "flip_horizontal": lambda images: images.flip(-1),
    "flip_vertical": lambda images: images.flip(-2),
    "rotate_180": lambda images: images.flip(-1, -2),
}


def load_batch(paths: Sequence[Path], size: int) -> Tensor:
    """Read images as one tensor [N, 3, size, size], float32 in 0..1."""
    return to_batch([read_pixels(path, size) for path in paths])


def read_pixels(path: Path, size: int) -> np.ndarray:
    """Read an image as [size, size, 3] of 8 bits."""
    return np.asarray(resize(read_image(path), size))


def to_batch(pictures: Sequence[np.ndarray]) -> Tensor:
    """Return pictures [H, W, 3] of 8 bits as one tensor [N, 3, H, W], float32 in 0..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def batches(count: int, size: int, description: str) -> Iterator[slice]:
    """Yield slices over `count` rows, `size` at a time, with a progress bar."""
    with progress_bar(total=count, desc=description, unit="image") as progress:
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield slice(start, stop)
            progress.update(stop - start)


@torch.inference_mode()
def extract_features(
    frozen: Callable[[Tensor], Tensor],
    paths: Sequence[Path],
    views: Sequence[str],
    image_size: int,
    batch_size: int,
    target: Path,
) -> None:
    """Run `frozen` once per image and view and write `target`/<view>.npy [N, C, H, W] fp16, and index.json.

    `frozen`: from images [N, 3, image_size, image_size] in 0..1 to the features at the freeze boundary.
    """
    target.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for rows in batches(len(paths), batch_size, "extract"):
        images = load_batch(paths[rows], image_size)
        for view in views:
            features = frozen(VIEWS[view](images).contiguous(memory_format=torch.channels_last))
            if not torch.isfinite(features).all() or features.abs().amax() > torch.finfo(torch.float16).max:
                raise ValueError(f"features of {paths[rows][0]} and the next are not finite in fp16")
            if view not in arrays:
                file = target / f"{view}.npy"
                arrays[view] = np.lib.format.open_memmap(file, "w+", np.float16, (len(paths), *features.shape[1:]))
                take_space(file)
            arrays[view][rows] = features.to(torch.float16).numpy()
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    shape = [int(length) for length in arrays[views[0]].shape[1:]]
    write_json(target / "index.json", {"views": list(views), "shape": shape, "images": len(paths)})


def take_space(file: Path) -> None:
    """Take the disk space of a sparse file, so that a full disk is an error now and not a signal at some later page."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise OSError(error.errno, error.strerror, str(file)) from None


class FeatureCache:
    """Read access to what extract_features wrote."""

    def __init__(self, folder: Path):
        index = read_json(folder / "index.json")
        self.views: list[str] = index["views"]
        self.shape: tuple[int, ...] = tuple(index["shape"])
        self._arrays = [np.load(folder / f"{view}.npy", mmap_mode="r") for view in self.views]

    def rows(self, indices: np.ndarray, views: np.ndarray | None = None) -> Tensor:
        """Return features [len(indices), C, H, W] float32 of the image `indices`, each in its view (default 0)."""
        if views is None:
            views = np.zeros(len(indices), dtype=int)
        batch = np.empty((len(indices), *self.shape), dtype=np.float16)
        for position, (index, view) in enumerate(zip(indices, views, strict=True)):
            batch[position] = self._arrays[view][index]
        return torch.from_numpy(batch).float()
