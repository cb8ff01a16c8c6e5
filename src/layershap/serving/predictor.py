"""The trained classifier as others use it: images of any size in, class, probabilities and explanations out."""

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from layershap.data.features import to_batch
from layershap.data.images import RefusedImageError, decode_image, read_image, resize
from layershap.data.references import load_references
from layershap.explain import LayerExplanation, explain_layers
from layershap.model.classifier import FIRST_FEATURE_LAYER, load_classifier
from layershap.workspace.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """The decision on one image: its class, and the probability of every class."""

    label: str
    probabilities: dict[str, float]


class Predictor:
    """A classifier with the training images that its explanations compare with."""

    def __init__(self, folder: Path):
        """Read the folder that stage train wrote: model.pt, model.json, references.npz."""
        self.model, self.description = load_classifier(folder / "model.pt", folder / "model.json")
        self.references = load_references(folder / "references.npz")

    @property
    def layers(self) -> dict[int, str]:
        """Feature layers by number."""
        return dict(enumerate(self.model.names, FIRST_FEATURE_LAYER))

    def read(self, images: Sequence[Any]) -> Tensor:
        """Return images as [N, 3, size, size] in 0..1, cut and scaled as in training.

        Each is the bytes of an image file, these in base64, a path, a PIL image, or pixels [H, W, 3] or [H, W] in
        0..255. Raises InputError that says which cannot be read, and why.
        """
        shown = []
        for number, image in enumerate(images):
            try:
                shown.append(np.asarray(resize(_decode(image), self.description.image_size)))
            except RefusedImageError as error:
                raise InputError(f"image {number}: {error}") from None
        return to_batch(shown)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> list[Prediction]:
        """Return the decision on each of images [N, 3, size, size]."""
        found = self.model(images.contiguous(memory_format=torch.channels_last)).softmax(1).double()
        found /= found.sum(1, keepdim=True)
        names = self.description.classes
        return [Prediction(names[int(row.argmax())], dict(zip(names, row.tolist(), strict=True))) for row in found]

    def explain(
        self, images: Tensor, layers: Sequence[str] | None = None, **options: Any
    ) -> dict[tuple[int, str], LayerExplanation]:
        """Return the explanation of `layers` (names or numbers; default: all) by number and name.

        `options`: as of explain_layers. Raises InputError for an unknown layer.
        """
        numbers = {name: number for number, name in self.layers.items()}
        chosen = [self.layers.get(int(layer), layer) if layer.isdigit() else layer for layer in layers or numbers]
        if unknown := [layer for layer in chosen if layer not in numbers]:
            known = ", ".join(f"{number} {name}" for number, name in self.layers.items())
            raise InputError(f"no layer {', '.join(unknown)}; there are {known}")
        found = explain_layers(self.model, images, self.references, layers=chosen, **options)
        return {(numbers[name], name): explanation for name, explanation in found.items()}


def _decode(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, Path):
        return read_image(image)
    if isinstance(image, str):
        try:
            image = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError):
            raise RefusedImageError("text that is not base64 of an image file") from None
    if isinstance(image, (bytes, bytearray)):
        return decode_image(bytes(image))
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or not pixels.size:
        raise RefusedImageError(f"pixels must be [height, width, 3] or [height, width], not {list(pixels.shape)}")
    if not np.issubdtype(pixels.dtype, np.number) or not np.isfinite(pixels).all():
        raise RefusedImageError(f"pixels must be finite numbers, not {pixels.dtype}")
    if pixels.min() < 0 or pixels.max() > 255:
        raise RefusedImageError(f"pixels must be in 0..255, not {pixels.min():g} to {pixels.max():g}")
    file = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(file, "PNG")
    return decode_image(file.getvalue())
