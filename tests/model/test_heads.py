"""The head on layers that are no plain maps: the same as on maps, with the prefix's tokens beside them."""

import pytest
import torch
from torch import nn

from layershap.chain.layouts import Layout
from layershap.explain import Chain, explain_layers
from layershap.model.heads import build_head


@pytest.mark.parametrize("pool", [0, 1, 2])
def test_channels_last_is_as_maps(pool):
    features = torch.rand(2, 4, 4, 6)
    torch.manual_seed(0)
    last = build_head([4, 4, 6], pool, [3], 0.0, 2, Layout("last", (4, 4)))
    torch.manual_seed(0)
    maps = build_head([6, 4, 4], pool, [3], 0.0, 2)
    torch.testing.assert_close(last(features), maps(features.permute(0, 3, 1, 2)))


@pytest.mark.parametrize("pool", [0, 2])
def test_tokens_are_maps_and_their_prefix(pool):
    features = torch.rand(2, 2 + 16, 5)
    head = build_head([18, 5], pool, [], 0.0, 3, Layout("tokens", (4, 4), 2))
    maps = features[:, 2:].reshape(2, 4, 4, 5).permute(0, 3, 1, 2)
    if pool:
        maps = nn.functional.adaptive_avg_pool2d(maps, pool)
    flat = torch.cat([maps.flatten(1), features[:, :2].transpose(1, 2).flatten(1)], 1)
    assert head[-1].in_features == flat.shape[1]
    torch.testing.assert_close(head(features), head[-1](flat))


@pytest.mark.parametrize("pool", [0, 2])
def test_sums_through_such_a_head_are_exact(pool):
    torch.manual_seed(0)
    tokens = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.GELU(), nn.Flatten(2))
    layers = [("tokens", nn.Sequential(tokens, Swap())), ("dense", nn.Sequential(nn.Linear(5, 5), nn.GELU()))]
    model = Chain(layers, build_head([16, 5], pool, [4], 0.5, 2, Layout("tokens", (4, 4)))).double().eval()
    images, references = torch.rand(1, 3, 16, 16).double(), torch.rand(3, 3, 16, 16).double()
    for layer in explain_layers(model, images, references, segments=1).values():
        assert layer.heatmap.shape == (1, 4, 4)
        assert float((layer.gap / layer.total).abs()) < 1e-10


class Swap(nn.Module):
    def forward(self, features):
        return features.transpose(1, 2)
