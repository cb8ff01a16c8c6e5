"""The whole classifier: normalisation and backbone as feature layers, the head, and its description."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from layershap.chain import Chain
from layershap.chain.layouts import Layout
from layershap.model.heads import FlatPlaces, build_head
from layershap.model.networks import build_backbone
from layershap.model.weights import read_state_dict
from layershap.workspace.files import read_json, replacing, write_json

FIRST_FEATURE_LAYER = 2  # as in the paper: 1 is the input
Item = TypeVar("Item")


@dataclass(frozen=True)
class Description:
    """All that is needed to build the same classifier again around its state dict.

    `chosen_layers`: names or patterns of the feature layers, or None for all that the network is cut into. `views`: how
    many of an image's views (as it is, flipped) a decision averages the probabilities of.
    """

    backbone: str
    image_size: int
    classes: list[str]
    pool: int
    hidden: list[int]
    dropout: float
    chosen_layers: list[str] | None = None
    views: int = 1


class Normalize(nn.Module):
    """Images in 0..1 to the backbone's input: (image - mean) / std, per colour."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, device="cpu").view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, device="cpu").view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images of the same shape."""
        return (images - self.mean) / self.std


def build_classifier(description: Description, weights: str) -> Chain:
    """Build the chain in eval mode: images [N, 3, size, size] in 0..1 to logits [N, classes]."""
    backbone = build_backbone(description.backbone, weights, description.image_size, description.chosen_layers)
    (first, module), *others = backbone.layers
    layers = [(first, nn.Sequential(Normalize(backbone.mean, backbone.std), module)), *others]
    size = description.image_size
    with torch.no_grad():  # what a layer keeps for later calls must be fit for gradients
        probe = torch.zeros(1, 3, size, size, device="cpu")
        for _, layer in layers:
            probe = layer(probe)
    head = build_head(
        probe.shape[1:],
        description.pool,
        description.hidden,
        description.dropout,
        len(description.classes),
        Layout.of(probe, size, size),
    )
    model = Chain(layers, head).eval()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def numbered(by_name: Mapping[str, Item]) -> dict[tuple[int, str], Item]:
    """Return what is known of every feature layer, in their order, by the layer's number and name."""
    return {(number, name): found for number, (name, found) in enumerate(by_name.items(), FIRST_FEATURE_LAYER)}


def layer_table(model: Chain, image_size: int) -> list[dict[str, object]]:
    """Return number, name, type and output shape of every layer, numbered as in the paper (1: the input)."""
    rows: list[dict[str, object]] = [
        {"number": 1, "name": "input", "type": "Input", "shape": [3, image_size, image_size]}
    ]
    tensor = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    with torch.no_grad():
        for name, module in [*zip(model.names, model.layers, strict=True), *_head_layers(model.head)]:
            tensor = module(tensor)
            shape = list(tensor.shape[1:])
            rows.append({"number": len(rows) + 1, "name": name, "type": _type(module), "shape": shape})
    return rows


def _head_layers(head: nn.Module) -> list[tuple[str, nn.Module]]:
    modules = list(head.children())
    return [(f"head{number}", module) for number, module in enumerate(modules, 1)]


def _type(module: nn.Module) -> str:
    kinds = {
        nn.MaxPool2d: "Pool",
        nn.AdaptiveAvgPool2d: "Pool",
        nn.Flatten: "Flatten",
        FlatPlaces: "Flatten",
        nn.Dropout: "Dropout",
        nn.Linear: "Dense",
    }
    for kind, name in kinds.items():
        if isinstance(module, kind):
            return name
    inner = {type(part) for part in module.modules()}
    if nn.Linear in inner and inner <= {nn.Sequential, nn.Linear, nn.ReLU}:
        return "Dense"
    plain = isinstance(module, nn.Sequential) and sum(isinstance(part, nn.Conv2d) for part in module.modules()) == 1
    return "Conv" if plain else "Block"


def boundary(model: Chain, unfreeze: int | str) -> int:
    """Return how many feature layers stay frozen, by the setting model.unfreeze: a number, or all."""
    if unfreeze == "all":
        return 0
    return max(len(model.layers) - int(unfreeze), 0)


def save_classifier(model: Chain, description: Description, weights: Path, card: Path) -> None:
    """Write the state dict and, as JSON, description and layer table; the bytes depend on the model alone."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    content = io.BytesIO()  # torch.save writes a file's own name into it
    torch.save(state, content)
    with replacing(weights) as partial:
        partial.write_bytes(content.getbuffer())
    described = {key: value for key, value in asdict(description).items() if value is not None}
    write_json(card, {**described, "layers": layer_table(model, description.image_size)})


def load_classifier(weights: Path, card: Path) -> tuple[Chain, Description]:
    """Read what save_classifier wrote; the chain is in eval mode."""
    content = read_json(card)
    del content["layers"]
    description = Description(**content)
    model = build_classifier(description, "random")
    model.load_state_dict(read_state_dict(weights))
    return model.eval(), description
