"""The trained classifier as others use it: images of any size in, class, probabilities and explanations out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layershap.data.features import probabilities_in_views, to_batch
from layershap.data.images import RefusedImageError, any_image, resize
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
        0..255, or 0..1. Raises InputError that says which cannot be read, and why.
        """
        shown = []
        for number, image in enumerate(images):
            try:
                shown.append(np.asarray(resize(any_image(image), self.description.image_size)))
            except RefusedImageError as error:
                raise InputError(f"image {number}: {error}") from None
        return to_batch(shown)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> list[Prediction]:
        """Return the decision on each of images [N, 3, size, size]: of as many views as the model's card says."""
        found = probabilities_in_views(self.model, images, self.description.views).mean(0).double()
        found /= found.sum(1, keepdim=True)
        names = self.description.classes
        return [Prediction(names[int(row.argmax())], dict(zip(names, row.tolist(), strict=True))) for row in found]

    def explain(
        self, images: Tensor, layers: Sequence[str] | None = None, **options: Any
    ) -> dict[tuple[int, str], LayerExplanation]:
        """Return the explanation of `layers` (names or numbers; default: all) by number and name.

        Of the images as they are, however many views a decision averages.

        `options`: as of explain_layers. Raises InputError for an unknown layer or a wrong option.
        """
        numbers = {name: number for number, name in self.layers.items()}
        chosen = [self.layers.get(int(layer), layer) if layer.isdigit() else layer for layer in layers or numbers]
        if unknown := [layer for layer in chosen if layer not in numbers]:
            known = ", ".join(f"{number} {name}" for number, name in self.layers.items())
            raise InputError(f"no layer {', '.join(unknown)}; there are {known}")
        try:
            found = explain_layers(self.model, images, self.references, layers=chosen, **options)
        except ValueError as error:
            raise InputError(str(error)) from None
        return {(numbers[name], name): explanation for name, explanation in found.items()}
