"""What is known of a network: before it is cut, and cut into layers."""

from dataclasses import dataclass

from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Colours = tuple[float, float, float]
Layers = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Input:
    """`size`: pixels, height and width, or None where the network names none. `mean`, `std`: of images in 0..1."""

    size: int | None
    mean: Colours = IMAGENET_MEAN
    std: Colours = IMAGENET_STD


@dataclass(frozen=True)
class Network:
    """A classifier from normalised images to logits, and its input.

    `lacking`: what a file of weights did not bring, and why, by name in the network's state dict.
    """

    module: nn.Module
    input: Input
    lacking: dict[str, str]


@dataclass(frozen=True)
class Backbone:
    """`layers`: name and module in order. `mean`, `std`: of the input, per colour, for images in 0..1."""

    layers: Layers
    mean: Colours
    std: Colours
