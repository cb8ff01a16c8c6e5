"""Files of weights: read without running anything, and put into a network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from layershap.workspace.errors import InputError, first_line


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors; anything else in it (code, pickled objects) is refused, nothing is run.

    A name that ends in .safetensors is read as that format, every other as torch.save writes it. Raises InputError.
    """
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read(path)
    except FileNotFoundError:
        raise InputError(f"model.weights: no file {path}; use imagenet, random, or the path of a state dict") from None
    except ImportError:
        raise InputError(f"{path}: reading it needs the package safetensors: pip install safetensors") from None
    except Exception as error:
        raise InputError(
            f"{path}: cannot be loaded as plain tensors ({first_line(error)}); save model.state_dict()"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict of tensors; save model.state_dict()")
    return state


def _read(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> object:
    from safetensors.torch import load_file

    if not path.exists():
        raise FileNotFoundError(path)
    return load_file(path, device="cpu")


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Copy the tensors of `state` that the network has under the same name and in the same shape.

    Returns what it then still lacks, and why, by name ("it lacks fc.weight"). Counts of batches, which older files do
    not have, are not missed.
    """
    own = network.state_dict()
    lacking = {}
    for name, value in own.items():
        if name not in state:
            if not name.endswith("num_batches_tracked"):
                lacking[name] = f"it lacks {name}"
        elif state[name].shape != value.shape:
            lacking[name] = f"{name} is {list(state[name].shape)} in it, not {list(value.shape)}"
    fitting = {name: state[name] for name in own if name in state and name not in lacking}
    network.load_state_dict(fitting, strict=False)
    return lacking


@torch.no_grad()
def draw_anew(network: nn.Module) -> None:
    """Draw the weights of every module that knows how (reset_parameters) anew, from torch's generator."""
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset):
            reset()
