"""torchvision's classifiers, by torchvision's names."""

from pathlib import Path
from typing import Any

from torch import Tensor

from layershap.model.network import Input, Network
from layershap.model.weights import fill, read_state_dict
from layershap.torchvision_guard import torchvision
from layershap.workspace.errors import InputError

models: Any = torchvision.models
# what their weights were trained with; without the branches that only training uses
INCEPTIONS = {"transform_input": True, "aux_logits": False, "init_weights": False}


def names() -> list[str]:
    """Return the names of all classifiers."""
    return list(models.list_models(models))


def input_of(name: str) -> Input:
    """Return size and normalisation that the network's weights were trained with."""
    preset = models.get_model_weights(name).DEFAULT.transforms()
    return Input(int(preset.crop_size[0]), tuple(preset.mean), tuple(preset.std))


def build(name: str, weights: str, size: int | None = None) -> Network:
    """Build network `name`; `weights`: imagenet, random, or the path of a state dict. Raises InputError.

    `size`: of the images, for networks that are built for one (null: their own).
    """
    wanted = input_of(name)
    options = _options(name, size or wanted.size)
    network = models.get_model(name, weights=None, **options)
    lacking: dict[str, str] = {}
    if weights == "imagenet":
        entry = models.get_model_weights(name).DEFAULT
        try:
            lacking = fill(network, _fitted(name, size, _downloaded(name, entry)))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"model.weights: the ImageNet weights of {name} could not be downloaded from {entry.url} ({error}); "
                f"fetch that file on a machine with a network and set model.weights to its path"
            ) from None
    elif weights != "random":
        lacking = fill(network, _fitted(name, size, read_state_dict(Path(weights))))
    return Network(network.eval(), wanted, lacking)


def _options(name: str, size: int | None) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        return dict(INCEPTIONS)
    if name.startswith("vit_"):
        return {"image_size": size}
    return {"input_size": (size, size)} if name.startswith("maxvit") else {}


def _downloaded(name: str, entry: Any) -> dict[str, Tensor]:
    if name.startswith("densenet"):  # names in its file are older than those of the network
        return models.get_model(name, weights=entry).state_dict()
    return entry.get_state_dict(progress=True, check_hash=True)


def _fitted(name: str, size: int | None, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a vision transformer with the embeddings of its places resampled for images of `size`."""
    if size and name.startswith("vit_") and "encoder.pos_embedding" in state:
        patch = state["conv_proj.weight"].shape[-1] if "conv_proj.weight" in state else 1
        return models.vision_transformer.interpolate_embeddings(size, patch, state)
    return state
