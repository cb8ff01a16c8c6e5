"""Any network by its own name, cut into layers: the known ones, torchvision's, timm's, a function of the user's."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from layershap.chain import Chain
from layershap.model import backbones, own_networks, timm_networks, torchvision_networks
from layershap.model.folding import fold_where_it_follows
from layershap.model.necks import neck_of
from layershap.model.network import Backbone, Input, Layers, Network
from layershap.workspace.errors import InputError, SettingsError, first_line
from layershap.workspace.params import Model

TIMM = "timm/"


def check_model(settings: Model) -> None:
    """Raise SettingsError for a network that nobody knows, with near names, and for code that DVC does not watch."""
    name = settings.backbone
    check_name(name)
    own = ":" in name
    if settings.weights == "own" and not own:
        raise SettingsError(
            f"model.weights: own is for a function of your own (package.module:function), and {name} is none; "
            "use imagenet, random, or the path of a state dict"
        )
    if own:
        file, code = own_networks.file_of(name).resolve(), Path(settings.code).resolve()
        if not file.is_relative_to(code):
            here = Path.cwd().resolve()
            wanted = file.relative_to(here).parts[0] if file.is_relative_to(here) else file.parent
            raise SettingsError(
                f"model.code: must be the file or folder of {name}, so that an edit of it runs the stages again: "
                f"set it to {wanted}, not {settings.code}"
            )


def check_name(name: str) -> None:
    """Raise SettingsError, with near names, where there is no network of this name."""
    if name in backbones.BUILDERS:
        return
    if ":" in name:
        own_networks.function_of(name)
        return
    if name.startswith(TIMM) and timm_networks.is_name(name.removeprefix(TIMM)):
        return
    if not name.startswith(TIMM) and name in torchvision_networks.names():
        return
    near = ", ".join(_near(name))
    raise SettingsError(
        f"model.backbone: unknown {name!r}; {f'near: {near}' if near else 'no name is like it'} "
        "('layershap backbones PATTERN' lists the names that fit)"
    )


def _near(name: str) -> list[str]:
    plain = name.removeprefix(TIMM)
    tags = timm_networks.tags(plain)
    if tags and "." in plain:  # the name without tag is timm's
        return [f"{TIMM}{tag}" for tag in tags]
    known = [*backbones.BUILDERS, *torchvision_networks.names()]
    others = [f"{TIMM}{other}" for other in timm_networks.names()]
    # names of the kind that was written first
    kinds = (others, known) if name.startswith(TIMM) else (known, others)
    found = [f"{TIMM}{plain}"] if tags else []
    found += [near for kind in kinds for near in difflib.get_close_matches(name, kind, 4, 0.6)]
    found += [f"{TIMM}{near}" for near in difflib.get_close_matches(plain, timm_networks.names(), 2, 0.7)]
    return list(dict.fromkeys(found))[:5]


def input_of(name: str) -> Input:
    """Return size and normalisation of the images, from the network's own configuration."""
    check_name(name)
    if name in backbones.BUILDERS:
        return backbones.input_of(name)
    if ":" in name:
        found = own_networks.input_of(name)
        return found if found.size else own_networks.build(name, "own").input
    if name.startswith(TIMM):
        return timm_networks.input_of(name.removeprefix(TIMM))
    return torchvision_networks.input_of(name)


def image_size(name: str, wanted: int | None) -> int:
    """Return the images' height and width in pixels: the one wanted, or the network's own; SettingsError for none."""
    if wanted:
        return wanted
    found = input_of(name).size
    if found is None:
        raise SettingsError(f"model.image_size: {name} names no size of its own; set a number, such as 224")
    return found


def build_network(name: str, weights: str, size: int | None = None) -> Network:
    """Build a network of torchvision, timm or the user's, in eval mode, as it is; `size`: of the images."""
    check_name(name)
    if weights == "own" and ":" not in name:
        raise SettingsError(f"model.weights: own is for a function of your own, and {name} is none")
    if ":" in name:
        return own_networks.build(name, weights, size)
    if name.startswith(TIMM):
        return timm_networks.build(name.removeprefix(TIMM), weights, size)
    return torchvision_networks.build(name, weights, size)


def build_backbone(name: str, weights: str, size: int | None = None, layers: Sequence[str] | None = None) -> Backbone:
    """Build the backbone `name` in eval mode.

    `weights`: imagenet, random (drawn from torch's generator), the path of a state dict in the backbone's own format,
    or own (what a function of the user's gives). `size`: of the images, height and width (None: the network's own).
    `layers`: names or patterns of the layers wanted; the others belong to the next one that is, the last one always is.
    Raises SettingsError or InputError.
    """
    if name in backbones.BUILDERS and weights != "own":
        found = backbones.BUILDERS[name](weights)
    else:
        size = image_size(name, size)
        found = _cut(name, build_network(name, weights, size), size, weights)
    chosen = found.layers if layers is None else merged(found.layers, layers)
    for _, module in chosen:
        module.eval()
    return Backbone(chosen, found.mean, found.std)


def _cut(name: str, network: Network, size: int, weights: str) -> Backbone:
    example = torch.zeros(1, 3, size, size, device="cpu")
    _check_size(name, network, example)
    own = network.module.state_dict(keep_vars=True)
    missed = {id(own[key]): why for key, why in network.lacking.items()}
    try:
        fold_where_it_follows(network.module, example)
        chain = Chain.of(network.module, example)
        with torch.no_grad():
            neck = neck_of(chain.head, chain.features(example))
    except ValueError as error:
        raise SettingsError(f"model.backbone: {name} cannot be cut into layers: {error}") from None
    kept = {id(value) for value in chain.head.state_dict(keep_vars=True).values()}
    if neck is not None:
        kept -= {id(value) for value in neck.state_dict(keep_vars=True).values()}
    # the network's own classifier is not used, and a file may lack it
    if needed := [why for key, why in missed.items() if key not in kept]:
        raise InputError(f"model.weights: {weights} is not a state dict of {name}: {needed[0]}")
    layers = list(zip(chain.names, chain.layers, strict=True))
    if neck is not None:
        last, module = layers[-1]
        layers[-1] = last, nn.Sequential(module, neck)
    return Backbone(layers, network.input.mean, network.input.std)


def _check_size(name: str, network: Network, example: Tensor) -> None:
    try:
        with torch.no_grad():
            network.module(example)
    except Exception as error:  # whatever the network raises
        reason = first_line(error)
        size, own = example.shape[-1], network.input.size
        way = f"null takes its own, {own}" if own and own != size else "set one that it takes"
        raise SettingsError(
            f"model.image_size: {name} takes no images of {size} x {size} pixels ({reason}); {way}"
        ) from None


def merged(layers: Layers, patterns: Sequence[str]) -> Layers:
    """Return the layers that the patterns name, each with those before it that none does; the last one always stays.

    The function of the whole is the same. Raises SettingsError for a pattern that fits no layer.
    """
    names = [name for name, _ in layers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = [] if "*" in pattern else difflib.get_close_matches(pattern, names, 3, 0.5)
            raise SettingsError(f"model.layers: {pattern!r} fits none of {', '.join(near or names)}")
    found: Layers = []
    waiting: list[nn.Module] = []
    for number, (name, module) in enumerate(layers, 1):
        waiting.append(module)
        if number == len(layers) or any(fnmatchcase(name, pattern) for pattern in patterns):
            found.append((name, waiting[0] if len(waiting) == 1 else nn.Sequential(*waiting)))
            waiting = []
    return found
