"""Against the libraries that people know, where those are right."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.explain.shap_engine import explain_layers_with_shap
from layershap.torchvision_guard import torchvision
from nets import data, small_chain, token_chain

needs_captum = pytest.mark.skipif(
    importlib.util.find_spec("captum") is None, reason="captum is a dependency of the benchmarks alone"
)


class Margin(nn.Module):
    """A chain's margin as a column."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        """Return s_1 - s_0, [N, 1]."""
        logits = self.model(images)
        return logits[:, 1:] - logits[:, :1]


def test_one_segment_is_shaps_deep_explainer_at_the_input():
    import shap

    # relu and linear parts alone: where the library's rule is DeepLIFT's
    model = small_chain(dtype=torch.float32, pool=nn.AvgPool2d)
    model.layers.insert(0, nn.Identity())
    model.names = ("input", *model.names)
    images, references = data(dtype=torch.float32)
    values = shap.DeepExplainer(Margin(model), references).shap_values(images, check_additivity=False)
    found = explain_layers(model, images, references, segments=1, keep_features=True)["input"]
    np.testing.assert_allclose(found.features.numpy(), values[..., 0], rtol=1e-3, atol=1e-5)


def test_shaps_sampling_agrees_within_its_own_error():
    model = small_chain(dtype=torch.float32, activation=nn.SiLU)
    images, references = data(dtype=torch.float32, count=1)
    exact = explain_layers(model, images, references, segments=32)
    state = np.random.get_state()[1].copy()
    sampled = explain_layers_with_shap(model, images, references, samples=2000, seed=3)
    assert np.array_equal(state, np.random.get_state()[1])
    for name in model.names:
        deviation = (sampled[name].heatmap - exact[name].heatmap).abs()
        largest = exact[name].heatmap.abs().max()
        assert float(deviation.mean() / largest) < 0.05
        assert float(sampled[name].gap.abs() / exact[name].total.abs().clamp(min=0.1)) < 0.5
        assert sampled[name].heatmap.shape == exact[name].heatmap.shape


def test_shap_engines_standard_error_is_that_of_the_sum_over_maps():
    model = small_chain(dtype=torch.float32)
    images, references = data(dtype=torch.float32, count=1)
    found = [explain_layers_with_shap(model, images, references, samples=40, seed=seed) for seed in range(30)]
    for name in model.names:
        real = torch.stack([one[name].heatmap[0] for one in found]).var(0).mean().sqrt()
        told = torch.stack([one[name].standard_error[0] for one in found]).square().mean().sqrt()
        assert 0.75 < float(real / told) < 1.3  # the maps have much in common: without it, 2 to 3


def test_shap_engine_sampling_error_falls_with_the_samples():
    model = small_chain(dtype=torch.float32, activation=nn.SiLU)
    images, references = data(dtype=torch.float32, count=1)
    exact = explain_layers(model, images, references, segments=32)["conv1"].heatmap
    error = [
        float(
            (explain_layers_with_shap(model, images, references, n, layers=["conv1"])["conv1"].heatmap - exact).norm()
        )
        for n in (50, 5000)
    ]
    assert error[1] < error[0] / 3


def captum_layers(method, model, images, references, steps):
    from captum import attr

    found = {}
    for name, layer in zip(model.names, model.layers, strict=True):
        explainer = getattr(attr, method)(lambda batch: Margin(model)(batch)[:, 0], layer)
        parts = [
            explainer.attribute(images, reference[None].expand_as(images), n_steps=steps, method="riemann_middle")
            for reference in references
        ]
        found[name] = sum(part.detach() for part in parts) / len(parts)
    return found


@needs_captum
@pytest.mark.parametrize(("method", "path"), [("LayerIntegratedGradients", "layer"), ("LayerConductance", "image")])
def test_many_segments_are_captums_integrals(method, path):
    model = small_chain(activation=nn.SiLU, pool=nn.AvgPool2d)
    images, references = data(references=2)
    expected = captum_layers(method, model, images, references, steps=2000)
    result = explain_layers(model, images, references, path=path, segments=64, keep_features=True)
    for name, values in expected.items():
        error = (result[name].features - values).norm() / values.norm()
        assert float(error) < 2e-3, name


def small_vit():
    """Patches, class token, two blocks of torch's own."""
    return token_chain().double()


def small_swin():
    """Torchvision's windows, every second time shifted, cut as any network is."""
    torch.manual_seed(5)
    network = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], 8, [2, 1], [2, 2], [2, 2], stochastic_depth_prob=0.0, num_classes=2
    ).double()
    for value in network.parameters():  # far from where it begins, where it is nearly linear
        nn.init.normal_(value, std=0.2)
    return Chain.of(network, torch.zeros(1, 3, 16, 16, dtype=torch.float64))


@needs_captum
@pytest.mark.parametrize(("network", "size"), [(small_vit, 8), (small_swin, 16)])
@pytest.mark.parametrize(("method", "path"), [("LayerIntegratedGradients", "layer"), ("LayerConductance", "image")])
def test_many_segments_of_attention_are_captums_integrals(method, path, network, size):
    model = network()
    images, references = data(count=1, references=2, shape=(3, size, size))
    expected = captum_layers(method, model, images, references, steps=3000)
    result = explain_layers(model, images, references, path=path, segments=128, keep_features=True)
    single = explain_layers(model, images, references, path=path, segments=1, keep_features=True)
    for name, values in expected.items():
        error = (result[name].features - values).norm() / values.norm()
        assert float(error) < 1e-3, name
    # what one segment gives is something else
    first = model.names[0]
    assert float((single[first].features - expected[first]).norm() / expected[first].norm()) > 1e-2
