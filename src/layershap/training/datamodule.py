"""Features or images as Lightning wants them: exact order from (seed, epoch), a process's share of a batch at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from layershap.torchvision_guard import torchvision  # noqa: F401  (Lightning imports torchvision)

import pytorch_lightning as lightning  # isort: skip

from layershap.data.features import FeatureCache, LiveImages
from layershap.training.loaders import BatchLoader
from layershap.training.together import Rows, SharedBatches, several

Batch = tuple[Tensor, Tensor, Tensor, int]


@dataclass(frozen=True)
class Labels:
    """Rows of the cache with their targets: `indices` and `numbers` [N], `soft` [N, classes] summing to 1 a row."""

    indices: np.ndarray
    numbers: np.ndarray
    soft: np.ndarray


@dataclass(frozen=True)
class Item:
    """What is trained on: the image at a position of Labels in a view, of which it is `share`, and the rest another."""

    position: int
    view: int = 0
    other: int = 0
    other_view: int = 0
    share: float = 1.0


Source = FeatureCache | LiveImages


class FeatureDataset(Dataset[Batch]):
    """What is trained on of some images, by Items."""

    def __init__(self, cache: Source, labels: Labels):
        self.cache = cache
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels.indices)

    def __getitems__(self, rows: Rows) -> Batch:
        """Return a process's share of a batch, and the size of the whole batch.

        Features [B, C, H, W], class numbers [B] and soft targets [B, classes]. The number of a mixed one is that of the
        image that it is more of.
        """
        size, items = rows
        positions = np.array([item.position for item in items])
        features = self._features(positions, [item.view for item in items])
        soft = torch.from_numpy(self.labels.soft[positions]).float()
        if any(item.share < 1 for item in items):
            others = np.array([item.other for item in items])
            shares = torch.tensor([item.share for item in items])
            features = _mixed(features, self._features(others, [item.other_view for item in items]), shares)
            soft = _mixed(soft, torch.from_numpy(self.labels.soft[others]).float(), shares)
        return features, torch.from_numpy(self.labels.numbers[positions]), soft, size

    def _features(self, positions: np.ndarray, views: list[int]) -> Tensor:
        return self.cache.rows(self.labels.indices[positions], np.array(views))


def _mixed(one: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    """Return `shares` [B] of one and the rest of the other, both [B, ...]."""
    shares = shares.view(-1, *[1] * (one.ndim - 1))
    return shares * one + (1 - shares) * other


class EpochSampler(Sampler[Item]):
    """A permutation and a view for each image, drawn from (seed, epoch) alone, so that a resumed run repeats it.

    `views`: how many there are; None: every epoch has one of its own, 1 in the first.

    With `mix_alpha`, each is mixed with one of a second permutation, by shares of at least a half, drawn from the beta
    distribution with both its parameters so large (mixup, Zhang et al. 2018, image by image).
    """

    def __init__(self, count: int, views: int | None, seed: int, mix_alpha: float | None = None):
        self.count = count
        self.views = views
        self.seed = seed
        self.mix_alpha = mix_alpha
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        generator = np.random.default_rng((self.seed, self.epoch))
        drawn = [generator.permutation(self.count), self._views(generator)]
        if self.mix_alpha is not None:
            drawn += [generator.permutation(self.count), self._views(generator)]
            shares = generator.beta(self.mix_alpha, self.mix_alpha, size=self.count)
            drawn.append(np.maximum(shares, 1 - shares))
        for values in zip(*(numbers.tolist() for numbers in drawn), strict=True):
            yield Item(*values)

    def _views(self, generator: np.random.Generator) -> np.ndarray:
        if self.views is None:
            return np.full(self.count, self.epoch + 1)
        return generator.integers(self.views, size=self.count)


class InOrder(Sampler[Item]):
    """Every image once, in order, in its first view."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        return map(Item, range(self.count))


class FeatureDataModule(lightning.LightningDataModule):
    """Train and val loaders over cached features, or over images with so many `workers` that read them."""

    def __init__(
        self,
        cache: Source,
        train: Labels,
        val: Labels,
        batch_size: int,
        seed: int,
        mix_alpha: float | None = None,
        workers: int = 0,
    ):
        super().__init__()
        self.cache = cache
        self.train = train
        self.val = val
        self.batch_size = batch_size
        self.seed = seed
        self.mix_alpha = mix_alpha
        self.workers = workers if isinstance(cache, LiveImages) else 0  # a map of a file needs none

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, a random view of each image."""
        count, views = len(self.train.indices), self.cache.view_count
        return self._loader(self.train, EpochSampler(count, views, self.seed, self.mix_alpha))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation images in order, unflipped."""
        return self._loader(self.val, InOrder(len(self.val.indices)))

    def _loader(self, labels: Labels, sampler: Sampler[Item]) -> DataLoader[Batch]:
        shared = SharedBatches(sampler, self.batch_size, *several())
        return BatchLoader(FeatureDataset(self.cache, labels), shared, self.workers, self.seed)
