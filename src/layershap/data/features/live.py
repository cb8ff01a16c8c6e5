"""Images in the place of frozen features, read and augmented when asked for: where the whole network is trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from layershap.data.features.loading import read_again, to_batch
from layershap.data.features.views import VIEWS, seen
from layershap.workspace.files import write_json


def write_live(folder: Path) -> None:
    """Write an index.json that says that there are no cached features."""
    write_json(folder / "index.json", {"live": True})


class LiveImages:
    """Images in the place of a FeatureCache. Picklable, for workers.

    `paths`: the files of all images. `size`: pixels. `policy`, `vertical`: as of augment. `seed`: of what is drawn.
    """

    def __init__(self, paths: Sequence[Path], size: int, policy: str, vertical: bool, seed: int):
        self.paths = paths
        self.size = size
        self.policy = policy
        self.vertical = vertical
        self.seed = seed

    @property
    def view_count(self) -> int | None:
        """Return how many views there are; None: another one for each number."""
        return {"none": 1, "flips": len(VIEWS)}.get(self.policy)

    def rows(self, indices: np.ndarray, views: np.ndarray | None = None) -> Tensor:
        """Return images [len(indices), 3, size, size] in 0..1, each in its view (default 0, as it is).

        A random one is drawn by the seed, the image's number and the view's alone. Raises InputError, which names the
        file, for an image that cannot be read.
        """
        numbers = np.zeros(len(indices), dtype=int) if views is None else views
        pictures = [self._seen(*pair) for pair in zip(indices.tolist(), numbers.tolist(), strict=True)]
        return to_batch(pictures).contiguous()  # as features are, and as they come from workers

    def _seen(self, image: int, view: int) -> np.ndarray:
        pixels = read_again(self.paths[image], self.size)
        name = f"{self.policy}_{view}" if self.view_count is None and view else list(VIEWS)[view]
        return seen(pixels, name, (self.seed, image, view), self.vertical)
