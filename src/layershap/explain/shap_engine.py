"""Engine `shap`: the library's GradientExplainer on the tail of the network, for comparison.

Given the tail F^l as a model of its own, it samples expected gradients in the layer's space, the quantity of path
`layer`. Its sums agree with f(x) - E f only within its sampling error, and it draws references with replacement.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from layershap.chain import Chain
from layershap.chain.layouts import Layout
from layershap.explain.explanations import Explanations
from layershap.explain.frozen_copy import frozen_copy
from layershap.explain.full_precision import full_precision
from layershap.explain.outputs import Output, choose_targets, output_values
from layershap.explain.result import LayerExplanation

GROUPS = 10  # of samples; their spread tells the error


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
) -> Explanations:
    """Return explanations as explain_layers does, from `samples` draws of (reference, place on the line) each.

    float32 only. `gap` is the sampling error of the sum; own and reference are None; the standard error comes from
    GROUPS groups of samples drawn apart. numpy's generator and the model are left as they were.
    """
    found: dict[str, list[LayerExplanation]] = {}
    model = frozen_copy(model)
    state = np.random.get_state()
    try:
        with full_precision(images.device), torch.inference_mode(False):
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
                    tail = _Tail(model, number + 1, chosen, output)
                    layout = Layout.of(own, *images.shape[-2:])
                    features, heatmap, error = _sampled(tail, own, others, samples, seed, layout)
                    total = features.flatten(1).sum(1)
                    found.setdefault(name, []).append(
                        LayerExplanation(
                            heatmap=layout.on_grid(heatmap),
                            standard_error=layout.on_grid(error),
                            own=None,
                            reference=None,
                            total=total,
                            gap=total - (f_image - expected),
                            expected=expected[None],
                            features=features,
                            segments=samples,
                            prefix=layout.of_prefix(heatmap),
                        )
                    )
    finally:
        np.random.set_state(state)
    joined = {name: LayerExplanation.joined(parts) for name, parts in found.items()}
    return Explanations(joined, output)


def _sampled(
    tail: _Tail, own: Tensor, references: Tensor, samples: int, seed: int, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features' values [1, ...], their sum over maps and its standard error [1, places].

    The samples are drawn in groups, each with a seed of its own: the spread of the groups' heatmaps holds what the maps
    have in common, which the variances of single features do not. With one sample there is no error: NaN.
    """
    import shap

    explainer = shap.GradientExplainer(tail, references, batch_size=16)
    groups = min(GROUPS, samples)
    sizes = np.array([samples // groups + (number < samples % groups) for number in range(groups)])
    parts = []
    for size, own_seed in zip(
        sizes.tolist(), np.random.SeedSequence(seed).generate_state(groups).tolist(), strict=True
    ):
        values = explainer.shap_values(own, nsamples=size, rseed=own_seed)
        parts.append(torch.from_numpy(np.asarray(values)[..., 0]).to(own.device))
    share = torch.from_numpy(sizes / samples).to(parts[0])
    every = torch.cat(parts)  # [groups, ...]
    features = torch.einsum("g...,g->...", every, share)[None]
    single = layout.maps(every).sum(1)
    heatmap = layout.maps(features).sum(1)
    deviation = (single - heatmap) ** 2
    # of a mean of groups of unequal size: each is as sure as it is large
    variance = (
        torch.einsum("g...,g->...", deviation, share)[None] / (groups - 1) if groups > 1 else deviation * torch.nan
    )
    return features, heatmap, variance.sqrt()
