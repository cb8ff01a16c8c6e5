"""Layers of tokens and with the channels last: their maps on the grid, their prefix apart."""

import pytest
import torch
from torch import nn

from layershap.chain.layouts import Layout
from layershap.explain import Chain, explain_layers
from layershap.explain.shap_engine import explain_layers_with_shap
from nets import Hook, data


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 64, 7, 7), (224, 224), Layout("maps", (7, 7))),
        ((1, 7, 7, 7), (224, 224), Layout("maps", (7, 7))),
        ((1, 56, 56, 96), (224, 224), Layout("last", (56, 56))),
        ((1, 12, 6, 5), (192, 96), Layout("last", (12, 6))),
        ((1, 8, 12, 6), (192, 96), Layout("maps", (12, 6))),
        ((1, 8, 5, 9), (37, 70), Layout("maps", (5, 9))),
        ((1, 196, 192), (224, 224), Layout("tokens", (14, 14))),
        ((1, 197, 192), (224, 224), Layout("tokens", (14, 14), 1)),
        ((1, 198, 192), (224, 224), Layout("tokens", (14, 14), 2)),
        ((1, 201, 192), (224, 224), Layout("tokens", (14, 14), 5)),
        ((1, 73, 16), (192, 96), Layout("tokens", (12, 6), 1)),
    ],
)
def test_the_layout_is_told_from_the_shape(shape, size, expected):
    assert Layout.of(torch.zeros(shape), *size) == expected


@pytest.mark.parametrize("shape", [(1, 5), (1, 3, 4, 4, 4), (1, 62, 8)])
def test_what_has_no_layout_is_named(shape):
    with pytest.raises(ValueError, match="neither maps"):
        Layout.of(torch.zeros(shape), 224, 224)


class Tokens(nn.Module):
    """Patches as tokens, two more before them."""

    def __init__(self):
        super().__init__()
        self.prefix = nn.Parameter(torch.randn(1, 2, 6))

    def forward(self, x):
        """Return [N, 2 + 16, 6] of [N, 6, 4, 4]."""
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.prefix.expand(len(x), -1, -1), tokens], 1)


class Mixing(nn.Module):
    """Attention among the tokens."""

    def __init__(self):
        super().__init__()
        self.values = nn.Linear(6, 18)

    def forward(self, x):
        """Return [N, T, C]."""
        query, key, value = self.values(x).chunk(3, -1)
        return x + nn.functional.scaled_dot_product_attention(query, key, value)


def transformer():
    torch.manual_seed(0)
    layers = [("patches", nn.Conv2d(2, 6, 2, 2)), ("tokens", Tokens()), ("one", Mixing()), ("two", Mixing())]
    layers.append(("last", Hook(lambda x: x[:, 2:].unflatten(1, (4, 4)))))
    return Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(96, 2))).double()


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("segments", [1, 3, 40])
def test_map_and_prefix_are_the_total(path, segments):
    model, (images, references) = transformer(), data()
    found = explain_layers(
        model, images, references, path=path, segments=segments, keep_features=True, keep_references=True
    )
    margin = model(images)
    margin = (margin[:, 1] - margin[:, 0]).detach()
    for name, layer in found.items():
        assert layer.heatmap.shape == layer.standard_error.shape == (3, 4, 4)
        assert layer.by_reference.shape == (3, 4, 4, 4)
        prefix = 0 if layer.prefix is None else layer.prefix
        torch.testing.assert_close(layer.heatmap.sum((1, 2)) + prefix, margin - layer.expected)
        torch.testing.assert_close(layer.features.flatten(1).sum(1), layer.total)
        assert (layer.prefix is None) == (name in ("patches", "last"))
    assert found["one"].features.shape == (3, 18, 6)
    assert found["last"].features.shape == (3, 4, 4, 6)
    torch.testing.assert_close(found["one"].features[:, 2:].sum(2).unflatten(1, (4, 4)), found["one"].heatmap)
    torch.testing.assert_close(found["one"].features[:, :2].sum((1, 2)), found["one"].prefix)
    # the tokens are made from the patches, and nothing else moves
    torch.testing.assert_close(found["tokens"].heatmap, found["patches"].heatmap)
    if path == "layer":
        torch.testing.assert_close(found["two"].own - found["two"].reference, found["two"].heatmap)


def test_channels_last_is_the_same_as_channels_first():
    found = explain_layers(transformer(), *data())
    model = transformer()
    first = Chain(
        [*zip(model.names, model.layers, strict=True), ("first", Hook(lambda x: x.permute(0, 3, 1, 2)))],
        nn.Sequential(Hook(lambda x: x.permute(0, 2, 3, 1)), *model.head),
    )
    again = explain_layers(first, *data())
    torch.testing.assert_close(again["first"].heatmap, found["last"].heatmap)


def test_shap_lays_tokens_out_as_well():
    model = transformer().float()
    images, references = data(count=1, dtype=torch.float32)
    exact = explain_layers(model, images, references, segments=30)
    sampled = explain_layers_with_shap(model, images, references, samples=3000)
    for name in model.names:
        assert sampled[name].heatmap.shape == exact[name].heatmap.shape
        deviation = (sampled[name].heatmap - exact[name].heatmap).abs().mean()
        assert float(deviation / exact[name].heatmap.abs().max()) < 0.1
        assert (sampled[name].prefix is None) == (exact[name].prefix is None)
