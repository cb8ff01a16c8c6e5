"""What comes out for a layer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerExplanation:
    """SHAP values of one layer's features for N images, in units of the explained output.

    heatmap [N, H, W]: sum over the block's maps, mean over the references. standard_error [N, H, W]: of that mean,
    sqrt(sum_j (H_j - H)^2 / (J (J - 1))), NaN with one reference; with more_references see levels.py. own, reference
    [N, H, W]: the exact split heatmap = own - reference into E[m z] and E[m z'] (path `layer`; None on path `image`,
    whose course in the layer is not straight). prefix [N]: in a layer of tokens, the sum over those before the grid
    (class token, registers), or None. total [N]: sum of the heatmap and the prefix. gap [N]: total - (f(x) - mean_j
    f(x'_j)), 0 up to rounding. expected [N]: mean_j f(x'_j). features [N, C, H, W], or with the axes as the layer has
    them: the single values, or None. segments: pieces of each path.
    change: largest relative change of a heatmap from half as many, where they were chosen by a tolerance.
    by_reference [N, J, H, W]: the heatmap against each single reference, whose mean is the heatmap; or None.
    """

    heatmap: Tensor
    standard_error: Tensor
    own: Tensor | None
    reference: Tensor | None
    total: Tensor
    gap: Tensor
    expected: Tensor
    features: Tensor | None
    segments: int
    change: float | None = None
    by_reference: Tensor | None = None
    prefix: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["LayerExplanation"]) -> "LayerExplanation":
        """Return explanations of one layer for several images as one."""

        def join(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return torch.cat(values) if isinstance(values[0], Tensor) else values[0]

        return cls(**{field.name: join(field.name) for field in fields(cls)})

    def to(self, device: torch.device | str) -> "LayerExplanation":
        """Return the same values on `device`."""

        def moved(name: str) -> Any:
            value = getattr(self, name)
            return value.to(device) if isinstance(value, Tensor) else value

        return LayerExplanation(**{field.name: moved(field.name) for field in fields(self)})

    def to_shap(self) -> Any:
        """Return a shap.Explanation: the features' values if they were kept, else those of the heatmap's pixels."""
        import shap

        values = self.heatmap if self.features is None else self.features
        return shap.Explanation(values=values.cpu().numpy(), base_values=self.expected.cpu().numpy())
