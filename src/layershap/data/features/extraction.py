"""Computing the cache: the frozen layers once per image and view, shard by shard, by one process or several."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layershap.data.features.loading import in_batches, loaded_in_views
from layershap.data.features.shards import Shards
from layershap.data.features.space import check_space, free_space, take_space
from layershap.data.features.views import seen
from layershap.hardware.processes import Processes
from layershap.workspace.errors import InputError

Frozen = Callable[[Tensor], Tensor]


@torch.inference_mode()
def extract_features(
    frozen: Frozen,
    paths: Sequence[Path],
    views: Sequence[str],
    image_size: int,
    batch_size: int,
    target: Path,
    processes: Processes | None = None,
    workers: int = 0,
    seed: int = 0,
    vertical: bool = False,
) -> None:
    """Run `frozen` once per image and view and write the shards of `target`, and its index.json.

    `views`: as names_of_views gives them; a random one is drawn by `seed`, the image's place in `paths` and the view's
    in `views` alone. `vertical`: as in `seen`.

    `frozen`: from images [N, 3, image_size, image_size] in 0..1, on the processes' device, to the features
    [N, C, H, W] at the freeze boundary. Batches are cut by the images' own order, and each shard is computed by one
    of the processes: however many they are, the files are the same. `workers`: as in `loaded`.

    Raises NoSpaceError where the disk has not the space, before the first batch, and InputError for an image whose
    features float16 does not hold.
    """
    processes = processes or Processes()
    target.mkdir(parents=True, exist_ok=True)
    shards = Shards.plan(views, _shape(frozen, image_size, processes), len(paths), batch_size)
    check_space(shards, processes.told(free_space(target)), target.with_suffix(""))  # its name without .partial
    for view in views:
        (target / view).mkdir(exist_ok=True)

    mine = processes.share(range(shards.count))
    slices = [rows for shard in mine for rows in in_batches(*_ends(shards.images_of(shard)), batch_size)]
    see = partial(_see, views, seed, vertical)
    images = loaded_in_views(paths, image_size, see, len(views), slices, workers, "extract")
    for shard in mine:
        arrays = {view: _begin(shards, target, view, shard) for view in views}
        first, end = _ends(shards.images_of(shard))
        stop = first
        while stop < end:
            rows, batch_in_views = next(images)
            for (view, array), batch in zip(arrays.items(), batch_in_views, strict=True):
                features = _features(frozen, batch, processes)
                _check(features, view, paths[rows])
                array[rows.start - first : rows.stop - first] = features.cpu().numpy()
            stop = rows.stop
        for view, array in arrays.items():
            array.flush()
            _partial(shards.file(target, view, shard)).replace(shards.file(target, view, shard))
    next(images, None)  # the bar's last word
    processes.wait()  # until all shards are there
    if processes.first:
        shards.check(target)
        shards.write(target)


def _see(views: Sequence[str], seed: int, vertical: bool, pixels: np.ndarray, image: int, view: int) -> np.ndarray:
    return seen(pixels, views[view], (seed, image, view), vertical)


def _features(frozen: Frozen, images: Tensor, processes: Processes) -> Tensor:
    """Return features [N, C, H, W] in float16, on the processes' device; infinite where they are too large for it."""
    images = images.contiguous(memory_format=torch.channels_last).to(processes.device)
    with processes.autocast():
        return frozen(images).to(torch.float16)


def _shape(frozen: Frozen, image_size: int, processes: Processes) -> list[int]:
    """Return the shape [C, H, W] of the features of one image."""
    return list(_features(frozen, torch.zeros(1, 3, image_size, image_size), processes).shape[1:])


def _check(features: Tensor, view: str, paths: Sequence[Path]) -> None:
    finite = torch.isfinite(features).flatten(1).all(1)
    if not finite.all():
        raise InputError(
            f"features of {paths[int((~finite).nonzero()[0])]} (view {view}) are not finite in float16: check "
            f"model.weights, or take another boundary with model.unfreeze, another trainer.precision or another network"
        )


def _ends(rows: slice) -> tuple[int, int]:
    return rows.start, rows.stop


def _partial(file: Path) -> Path:
    return file.with_name(file.name + ".partial")


def _begin(shards: Shards, folder: Path, view: str, shard: int) -> np.memmap:
    """Return the array of a shard that is being written, with its disk space taken."""
    file = _partial(shards.file(folder, view, shard))
    array: np.memmap = np.lib.format.open_memmap(file, "w+", np.float16, shards.shape_of(shard))
    take_space(file)
    return array
