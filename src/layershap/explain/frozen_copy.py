"""A model that the engine may change as it needs, without a trace in the caller's."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def frozen_copy(model: Model) -> Model:
    """Return the model in eval mode, its parameters without gradients; it shares the memory of all tensors.

    `model` itself is left alone, so that other threads can use or train it meanwhile. Raises ValueError where it holds
    something that cannot be copied.
    """
    shared: dict[int, object] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module.parameters(recurse=False), *module.buffers(recurse=False)):
            if isinstance(value, Tensor):
                shared[id(value)] = _without_gradient(value)
    try:
        return copy.deepcopy(model, shared).eval()
    except (TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"the model cannot be copied ({error}); what is explained is a copy that shares the weights: keep locks, "
            "open files and the like out of its modules, or give the module that holds them a __deepcopy__"
        ) from error


def _without_gradient(value: Tensor) -> Tensor:
    plain = value.detach()
    if plain.is_inference():  # made in inference mode: autograd refuses it
        with torch.inference_mode(False):
            plain = plain.clone()
    return nn.Parameter(plain, requires_grad=False) if isinstance(value, nn.Parameter) else plain
