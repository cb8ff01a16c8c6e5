"""How cached features lie on disk: for each view a folder of shards, files of as many images but for the last one.

`<view>/00000.npy`: [n, C, H, W] float16, the images of data/images.csv in order; `index.json`: what there is.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import numpy as np

from layershap.workspace.errors import InputError
from layershap.workspace.files import read_json, write_json

SHARD_BATCHES = 16
SHARD_BYTES = 256 * 2**20  # at most, where a single batch is not more


@dataclass(frozen=True)
class Shards:
    """What is in a cache. `shape`: [C, H, W] of an image's features. `rows`: images of each shard but the last."""

    views: list[str]
    shape: list[int]
    images: int
    rows: int

    @classmethod
    def plan(cls, views: Sequence[str], shape: Sequence[int], images: int, batch_size: int) -> "Shards":
        """Return shards of whole batches: SHARD_BATCHES, or as many as SHARD_BYTES hold, and at least one.

        The number of processes has no part in it, so that it changes no file.
        """
        in_bytes = SHARD_BYTES // (batch_size * 2 * prod(shape))
        return cls(list(views), list(shape), images, batch_size * max(1, min(SHARD_BATCHES, in_bytes)))

    @classmethod
    def read(cls, folder: Path) -> "Shards":
        """Read index.json. Raises InputError where it is of another version, or of no features."""
        index = read_json(folder / "index.json")
        if index.get("live"):
            raise InputError(f"{folder} holds no features, for model.unfreeze was all: run 'dvc repro extract'")
        try:
            return cls(**index)
        except TypeError:
            raise InputError(f"{folder / 'index.json'} is of another version: run 'dvc repro extract'") from None

    def write(self, folder: Path) -> None:
        """Write index.json."""
        write_json(folder / "index.json", asdict(self))

    @property
    def image_bytes(self) -> int:
        """What the features of one image in one view take."""
        return 2 * prod(self.shape)

    @property
    def count(self) -> int:
        """How many shards each view has."""
        return -(-self.images // self.rows)

    def images_of(self, shard: int) -> slice:
        """Return the rows of data/images.csv that are in a shard."""
        return slice(shard * self.rows, min((shard + 1) * self.rows, self.images))

    def shape_of(self, shard: int) -> tuple[int, ...]:
        """Return the shape [n, C, H, W] of a shard."""
        rows = self.images_of(shard)
        return (rows.stop - rows.start, *self.shape)

    def file(self, folder: Path, view: str, shard: int) -> Path:
        """Return where a shard lies."""
        return folder / view / f"{shard:05}.npy"

    def check(self, folder: Path) -> None:
        """Raise InputError, which names the file, unless every shard of every view is there, whole and of its shape."""
        for shard in range(self.count):
            header = header_of(self.shape_of(shard))
            size = len(header) + self.shape_of(shard)[0] * self.image_bytes
            for view in self.views:
                file = self.file(folder, view, shard)
                try:
                    found = file.stat().st_size
                    with file.open("rb") as opened:
                        right = opened.read(len(header)) == header
                except FileNotFoundError:
                    raise InputError(f"{file} is missing: {AGAIN}") from None
                if found != size:
                    raise InputError(f"{file} has {found:,} bytes instead of {size:,}: {AGAIN}")
                if not right:
                    raise InputError(f"{file} does not begin as an array {list(self.shape_of(shard))} does: {AGAIN}")


AGAIN = "run 'dvc repro --force --single-item extract'"


def header_of(shape: tuple[int, ...]) -> bytes:
    """Return with what numpy's file of a float16 array of this shape begins."""
    content = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, description)
    return content.getvalue()
