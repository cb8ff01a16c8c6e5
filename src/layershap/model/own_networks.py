"""A network of the user's own: `package.module:function`, importable from the project's folder."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from layershap.model.network import IMAGENET_MEAN, IMAGENET_STD, Colours, Input, Network
from layershap.model.weights import draw_anew, fill, read_state_dict
from layershap.workspace.errors import SettingsError


def function_of(name: str) -> Callable[..., Any]:
    """Return the function that `package.module:function` names; the project's folder is where this runs."""
    place, _, wanted = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last: a folder of the project must not stand for an installed package
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise SettingsError(
                f"model.backbone: no module {place}; {error.name} must be in {here} or installed"
            ) from None
        raise SettingsError(f"model.backbone: {place} needs {error.name}, which is not installed") from None
    function = getattr(module, wanted, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(wanted, functions, 3, 0.5) or functions[:5]
        raise SettingsError(f"model.backbone: {place} has no function {wanted}; near: {', '.join(near) or 'none'}")
    return function


def file_of(name: str) -> Path:
    """Return the file in which the function's module is."""
    module = sys.modules.get(name.partition(":")[0]) or sys.modules[function_of(name).__module__]
    return Path(str(module.__file__))


def input_of(name: str, network: nn.Module | None = None) -> Input:
    """Return what the function says (image_size, mean, std, default_cfg), else its network's configuration.

    ImageNet's mean and standard deviation where neither says any; no size where neither does, and where a size was not
    asked of a built network.
    """
    function = function_of(name)
    said = _configuration(function) or _configuration(network)
    sizes = said.get("input_size")
    size = getattr(function, "image_size", None) or (sizes[-1] if sizes else None)
    mean, std = getattr(function, "mean", None), getattr(function, "std", None)
    return Input(
        int(size) if size else None,
        _colours(name, "mean", mean if mean is not None else said.get("mean", IMAGENET_MEAN)),
        _colours(name, "std", std if std is not None else said.get("std", IMAGENET_STD)),
    )


def build(name: str, weights: str, size: int | None = None) -> Network:
    """Call the function; `weights`: own (as it gives them), random (drawn anew), or the path of a state dict.

    A function that takes `image_size` is given it. Raises SettingsError or InputError.
    """
    function = function_of(name)
    if weights == "imagenet":
        raise SettingsError(
            f"model.weights: imagenet is not known of {name}; set own (the weights that it gives), random, or a path"
        )
    takes_size = "image_size" in inspect.signature(function).parameters
    network = function(image_size=size) if takes_size and size else function()
    if not isinstance(network, nn.Module):
        raise SettingsError(f"model.backbone: {name} returns a {type(network).__name__}, not a torch.nn.Module")
    lacking: dict[str, str] = {}
    if weights == "random":
        draw_anew(network)
    elif weights != "own":
        lacking = fill(network, read_state_dict(Path(weights)))
    return Network(network.eval(), input_of(name, network), lacking)


def _configuration(thing: Any) -> dict[str, Any]:
    for attribute in ("pretrained_cfg", "default_cfg"):
        found = getattr(thing, attribute, None)
        if found:
            return dict(found) if isinstance(found, dict) else dict(vars(found))
    return {}


def _colours(name: str, what: str, values: Any) -> Colours:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise SettingsError(f"model.backbone: {what} of {name} must be three numbers, not {values!r}") from None
    return red, green, blue
