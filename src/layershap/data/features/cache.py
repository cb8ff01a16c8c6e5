"""Reading the cache of frozen features, in any order."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layershap.data.features.shards import Shards, header_of

MOST_MAPS = 4096  # open at a time: a process may have some 65,000 parts of memory, and each map is one


class FeatureCache:
    """Read access to what extract_features wrote; shards are mapped into memory when they are first asked for.

    Raises InputError, which names the file, where a shard is missing or not whole.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._shards = Shards.read(folder)
        self._shards.check(folder)
        self.views: list[str] = self._shards.views
        self.shape: tuple[int, ...] = tuple(self._shards.shape)
        self._maps: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    @property
    def view_count(self) -> int:
        """Return how many views of each image there are."""
        return len(self.views)

    def rows(self, indices: np.ndarray, views: np.ndarray | None = None) -> Tensor:
        """Return features [len(indices), C, H, W] float32 of the image `indices`, each in its view (default 0)."""
        if views is None:
            views = np.zeros(len(indices), dtype=int)
        shards, places = np.divmod(indices, self._shards.rows)
        batch = np.empty((len(indices), *self.shape), dtype=np.float16)
        for position, (shard, place, view) in enumerate(
            zip(shards.tolist(), places.tolist(), np.asarray(views).tolist(), strict=True)
        ):
            batch[position] = self._map(view, shard)[place]
        return torch.from_numpy(batch).float()

    def _map(self, view: int, shard: int) -> np.ndarray:
        """Return a shard [n, C, H, W] as a map of its file."""
        key = (view, shard)
        if key in self._maps:
            self._maps.move_to_end(key)
            return self._maps[key]
        file = self._shards.file(self._folder, self.views[view], shard)
        shape = self._shards.shape_of(shard)
        skipped = len(header_of(shape)) // 2
        # as numpy's maps, but without an open file each, of which a process may have few
        whole = torch.from_file(str(file), size=skipped + int(np.prod(shape)), dtype=torch.float16).numpy()
        found = whole[skipped:].reshape(shape)
        found.flags.writeable = False
        self._maps[key] = found
        if len(self._maps) > MOST_MAPS:
            self._maps.popitem(last=False)
        return found
