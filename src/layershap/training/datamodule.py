"""Cached features as Lightning wants them: exact order from (seed, epoch), a process's share of a batch at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from layershap.torchvision_guard import torchvision  # noqa: F401  (Lightning imports torchvision)

import pytorch_lightning as lightning  # isort: skip

from layershap.data.features import FeatureCache
from layershap.training.together import Rows, SharedBatches, several

Batch = tuple[Tensor, Tensor, Tensor, int]


@dataclass(frozen=True)
class Labels:
    """Rows of the cache with their targets: `indices` and `numbers` [N], `soft` [N, classes] summing to 1 a row."""

    indices: np.ndarray
    numbers: np.ndarray
    soft: np.ndarray


class FeatureDataset(Dataset[Batch]):
    """Cached features of some images; an item is (position, view)."""

    def __init__(self, cache: FeatureCache, labels: Labels):
        self.cache = cache
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels.indices)

    def __getitems__(self, rows: Rows) -> Batch:
        """Return a process's share of a batch, and the size of the whole batch.

        Features [B, C, H, W], class numbers [B] and soft targets [B, classes].
        """
        size, items = rows
        positions, views = np.array(items).T
        features = self.cache.rows(self.labels.indices[positions], views)
        numbers = torch.from_numpy(self.labels.numbers[positions])
        return features, numbers, torch.from_numpy(self.labels.soft[positions]).float(), size


class EpochSampler(Sampler[tuple[int, int]]):
    """A permutation and a view for each image, drawn from (seed, epoch) alone, so that a resumed run repeats it."""

    def __init__(self, count: int, views: int, seed: int):
        self.count = count
        self.views = views
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.count)
        views = generator.integers(self.views, size=self.count)
        yield from zip(order.tolist(), views.tolist(), strict=True)


class InOrder(Sampler[tuple[int, int]]):
    """Every image once, in order, in its first view."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((position, 0) for position in range(self.count))


class FeatureDataModule(lightning.LightningDataModule):
    """Train and val loaders over the cache."""

    def __init__(self, cache: FeatureCache, train: Labels, val: Labels, batch_size: int, seed: int):
        super().__init__()
        self.cache = cache
        self.train = train
        self.val = val
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, a random view of each image."""
        return self._loader(self.train, EpochSampler(len(self.train.indices), len(self.cache.views), self.seed))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation images in order, unflipped."""
        return self._loader(self.val, InOrder(len(self.val.indices)))

    def _loader(self, labels: Labels, sampler: Sampler[tuple[int, int]]) -> DataLoader[Batch]:
        shared: Any = SharedBatches(sampler, self.batch_size, *several())
        return DataLoader(
            FeatureDataset(self.cache, labels),
            batch_sampler=shared,
            collate_fn=_as_it_is,  # the data set returns whole batches
            generator=torch.Generator().manual_seed(self.seed),
        )


def _as_it_is(batch: Any) -> Any:
    return batch
