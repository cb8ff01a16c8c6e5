"""A small network, the cached features of its first layer, and how to train what lies above them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from layershap.data.features import FeatureCache, extract_features
from layershap.explain import Chain
from layershap.training.datamodule import FeatureDataModule, Labels
from layershap.workspace.params import Train

SETTINGS = Train(
    epochs=12, batch_size=8, learning_rate=0.05, unfrozen_learning_rate=0.02, layer_decay=1.0, schedule="cosine",
    warmup_epochs=0, head_epochs=0, weight_decay=0.0, gradient_clip=None, class_weights=True, soft_labels=False,
    label_smoothing=0.0, average="none", ema_decay=0.9, swa_start=0.5, patience=12, seed=0,
)  # fmt: skip
SIZE = 24


def settings(**changed) -> Train:
    """Return SETTINGS with others."""
    return SETTINGS.model_copy(update=changed)


def model() -> Chain:
    """Return a chain of three layers, the second with a norm that keeps statistics."""
    torch.manual_seed(0)
    layers = [
        ("one", nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())),
        ("two", nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.BatchNorm2d(4))),
        ("three", nn.Conv2d(4, 4, 1)),
    ]
    return Chain(layers, nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * 5 * 5, 2))).eval()


def pictures(folder: Path, rng, count: int = 40) -> list[Path]:
    """Write bright and dark images, in turn."""
    paths = []
    for number in range(count):
        pixels = np.clip(rng.normal(60 + 100 * (number % 2), 20, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:02d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def cache_of(paths: list[Path], folder: Path) -> FeatureCache:
    """Write the features of the first layer in two views."""
    chain = model()
    extract_features(
        lambda images: chain.features(images, stop=1), paths, ["original", "flip_vertical"], SIZE, 7, folder
    )
    return FeatureCache(folder)


def labels(rows) -> Labels:
    """Return the labels of rows: dark, bright."""
    rows = np.asarray(rows)
    return Labels(rows, rows % 2, np.eye(2)[rows % 2])


def data(cache: FeatureCache, seed: int = 0, mix_alpha: float | None = None) -> FeatureDataModule:
    """Return 30 images to train on and 10 to validate."""
    return FeatureDataModule(cache, labels(range(30)), labels(range(30, 40)), 8, seed, mix_alpha)
