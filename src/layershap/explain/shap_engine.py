"""Engine `shap`: the library's GradientExplainer on the tail of the network, for comparison.

Given the tail F^l as a model of its own, it samples expected gradients in the layer's space, the quantity of path
`layer`. Its sums agree with f(x) - E f only within its sampling error, and it draws references with replacement.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from layershap.chain import Chain
from layershap.explain.layers import frozen
from layershap.explain.outputs import Output, choose_targets, output_values
from layershap.explain.result import LayerExplanation


class _Tail(nn.Module):
    """F^l with the explained output as its only column."""

    def __init__(self, model: Chain, start: int, target: int, output: Output):
        super().__init__()
        self.model = model
        self.start = start
        self.target = target
        self.output: Output = output

    def forward(self, features: Tensor) -> Tensor:
        """Return f [N, 1] of features of layer start - 1."""
        return output_values(self.model.tail(features, self.start), self.target, self.output)[:, None]


def explain_layers_with_shap(
    model: Chain,
    images: Tensor,
    references: Tensor,
    samples: int = 200,
    output: Output = "margin",
    seed: int = 0,
    *,
    target: int | None = None,
    layers: Sequence[str] | None = None,
) -> Mapping[str, LayerExplanation]:
    """Return explanations as explain_layers does, from `samples` draws of (reference, place on the line) each.

    float32 only. `gap` is the sampling error of the sum; own and reference are None; the standard error comes from
    the variance that shap reports, whose root is divided by sqrt(samples). numpy's generator is left as it was.
    """
    import shap

    found: dict[str, list[LayerExplanation]] = {}
    state = np.random.get_state()
    try:
        with frozen(model):
            with torch.no_grad():
                logits, reference_logits = model(images), model(references)
            targets = choose_targets(logits, target)
            for index in range(len(images)):
                chosen = int(targets[index])
                own, others = images[index : index + 1], references
                f_image = output_values(logits[index : index + 1], chosen, output)
                expected = output_values(reference_logits, chosen, output).mean()
                for number, name in enumerate(model.names):
                    with torch.no_grad():
                        own, others = model.layers[number](own), model.layers[number](others)
                    if layers is not None and name not in layers:
                        continue
                    explainer = shap.GradientExplainer(_Tail(model, number + 1, chosen, output), others, batch_size=16)
                    values, variances = explainer.shap_values(own, nsamples=samples, rseed=seed, return_variances=True)
                    features = torch.from_numpy(np.asarray(values)[..., 0])
                    variance = torch.from_numpy(np.asarray(variances[0] if isinstance(variances, list) else variances))
                    heatmap = features.sum(1)
                    total = heatmap.sum((1, 2))
                    error = (variance.reshape(features.shape).sum(1) / samples).sqrt()
                    found.setdefault(name, []).append(
                        LayerExplanation(
                            heatmap=heatmap,
                            standard_error=error,
                            own=None,
                            reference=None,
                            total=total,
                            gap=total - (f_image - expected),
                            expected=expected[None],
                            features=features,
                            segments=samples,
                        )
                    )
    finally:
        np.random.set_state(state)
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: list[LayerExplanation]) -> LayerExplanation:
    def cat(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    return LayerExplanation(
        heatmap=cat("heatmap"),
        standard_error=cat("standard_error"),
        own=None,
        reference=None,
        total=cat("total"),
        gap=cat("gap"),
        expected=cat("expected"),
        features=cat("features"),
        segments=parts[0].segments,
    )
