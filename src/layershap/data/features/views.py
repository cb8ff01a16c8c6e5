"""The views of an image: as it is, flipped, or as an augmentation draws it from seed, image and number of the view."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

ORIGINAL = "original"
# of images [N, C, H, W]
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    ORIGINAL: lambda images: images,
    "flip_horizontal": lambda images: images.flip(-1),
    "flip_vertical": lambda images: images.flip(-2),
    "rotate_180": lambda images: images.flip(-1, -2),
}
_AXES: dict[str, tuple[int, ...]] = {ORIGINAL: (), "flip_horizontal": (1,), "flip_vertical": (0,), "rotate_180": (0, 1)}


def names_of_views(policy: str, count: int) -> list[str]:
    """Return the names of the first `count` views of a policy (none, flips, standard, strong); the first is `original`.

    Raises ValueError where the policy has fewer.
    """
    if policy in ("none", "flips"):
        known = list(VIEWS) if policy == "flips" else [ORIGINAL]
        if count > len(known):
            raise ValueError(f"policy {policy} has {len(known)} views, not {count}")
        return known[:count]
    return [ORIGINAL, *(f"{policy}_{number}" for number in range(1, count))]


def probabilities_in_views(network: Callable[[Tensor], Tensor], images: Tensor, count: int) -> Tensor:
    """Return probabilities [count, N, classes] of images [N, 3, H, W] in the first of VIEWS; a decision is their mean.

    `network`: from images to logits [N, classes].
    """
    import torch

    shown = (view(images).contiguous(memory_format=torch.channels_last) for view in list(VIEWS.values())[:count])
    return torch.stack([network(view).softmax(1) for view in shown])


def seen(pixels: np.ndarray, view: str, drawn_by: Sequence[int], vertical: bool = False) -> np.ndarray:
    """Return an image [H, W, 3] of 8 bits in one of the views that names_of_views names, of the same shape.

    `drawn_by`: what a random view is drawn by, and by nothing else: seed, number of the image, number of the view.
    `vertical`: random views may stand on their heads, too.
    """
    if view in _AXES:
        return np.ascontiguousarray(np.flip(pixels, _AXES[view]))
    import torch

    policy = view.partition("_")[0]
    state = int(np.random.SeedSequence(tuple(drawn_by)).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
        torch.default_generator.manual_seed(state)
        # as a picture of PIL, whose bytes do not depend on the number of threads
        return np.asarray(_augmentation(policy, pixels.shape[0], vertical)(Image.fromarray(pixels)))


@cache
def _augmentation(policy: str, size: int, vertical: bool) -> Any:
    """Return the transforms of a policy, from a square picture of PIL to one of the same size."""
    from layershap.torchvision_guard import torchvision  # noqa: F401

    from torchvision.transforms import InterpolationMode, v2  # isort: skip

    smooth = InterpolationMode.BILINEAR
    return v2.Compose(
        [
            *([v2.RandAugment(interpolation=smooth)] if policy == "strong" else []),
            v2.Pad(size // 8, padding_mode="reflect"),  # what a rotation by 10 degrees brings into the corners
            v2.RandomRotation(10, interpolation=smooth),
            v2.CenterCrop(size),
            v2.RandomResizedCrop(size, scale=(0.7, 1.0)),
            v2.RandomHorizontalFlip(),
            *([v2.RandomVerticalFlip()] if vertical else []),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
        ]
    )
