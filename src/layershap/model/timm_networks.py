"""timm's classifiers, by timm's names, with or without a tag (`convnext_tiny.in12k_ft_in1k`)."""

from pathlib import Path
from typing import Any

from layershap.model.network import Input, Network
from layershap.model.weights import read_state_dict
from layershap.workspace.errors import InputError, SettingsError, first_line

import timm  # isort: skip  (the package's __init__ has torchvision guarded)


def names() -> list[str]:
    """Return the names of all classifiers, without tags."""
    return list(timm.list_models())


def names_with_tags() -> list[str]:
    """Return the names of all classifiers with each of their tags."""
    return list(timm.list_models(include_tags=True))


def tags(name: str) -> list[str]:
    """Return the names with tag of the classifier that `name` is, with or without one."""
    return list(timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True))


def is_name(name: str) -> bool:
    """Return whether timm builds `name`, and knows its tag where it has one."""
    try:
        return timm.is_model(name.partition(".")[0]) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # no such tag
        return False


def _configuration(name: str) -> Any:
    return timm.get_pretrained_cfg(name)


def input_of(name: str) -> Input:
    """Return size and normalisation that the network's configuration names."""
    configuration = _configuration(name)
    colours, height, width = configuration.input_size
    if colours != 3:
        raise SettingsError(f"model.backbone: timm/{name} takes images of {colours} colours, and images here have 3")
    size = height if height == width else None
    return Input(size, tuple(configuration.mean), tuple(configuration.std))


def build(name: str, weights: str, size: int | None = None) -> Network:
    """Build network `name`; `weights`: imagenet (timm's own, whatever they were trained on), random, or a path.

    `size`: of the images, for networks that are built for one (None: their own); where there are weights, timm
    resamples what depends on it. Raises InputError.
    """
    wanted = input_of(name)
    configuration = _configuration(name)
    options: dict[str, Any] = {}
    if size and configuration.fixed_input_size and size != wanted.size:
        options["img_size"] = size
    if weights == "imagenet":
        module = _fetched(name, configuration, options)
    else:
        module = timm.create_model(name, pretrained=False, **options)
        if weights != "random":
            module = _filled(name, module, Path(weights), options)
    return Network(module.eval(), wanted, {})


def _fetched(name: str, configuration: Any, options: dict[str, Any]) -> Any:
    if not configuration.has_weights:
        raise InputError(
            f"model.weights: timm has no weights of {name} (there may be some under another tag: "
            f"{', '.join(tags(name))}); set model.weights to random or to the path of a state dict"
        )
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the hub, of its client, of the file
        raise InputError(
            f"model.weights: the weights of timm/{name} could not be fetched: {_source(configuration)} "
            f"({first_line(error)}); fetch that file on a machine with a network and set model.weights to its path"
        ) from None


def _source(configuration: Any) -> str:
    """Return where timm looks for the weights first."""
    if configuration.hf_hub_id:
        return f"{configuration.hf_hub_filename or 'model.safetensors'} of {configuration.hf_hub_id}, Hugging Face hub"
    return str(configuration.url or configuration.file)


def _filled(name: str, network: Any, path: Path, options: dict[str, Any]) -> Any:
    """Return the network with a file's weights; its own classifier, which is not used here, where that is another."""
    state = read_state_dict(path)
    own = network.state_dict()
    parts = network.pretrained_cfg.get("classifier") or ()
    for part in (parts,) if isinstance(parts, str) else parts:
        for key in own:
            if key.startswith(f"{part}.") and (key not in state or state[key].shape != own[key].shape):
                state[key] = own[key]
    overlay = {"state_dict": state, "num_classes": network.num_classes, "label_offset": 0}
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"model.weights: {path} is not a state dict of timm/{name}: {reason}") from None
