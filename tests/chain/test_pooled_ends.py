"""A head that pools to one place and mixes channels there is no feature layer, whatever shapes follow."""

import torch
from torch import nn

from layershap.chain import Chain


def test_a_classifier_of_convolutions_after_the_pool_is_the_head():
    features = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten())
    chain = Chain.of(network, torch.zeros(1, 3, 8, 8))
    assert chain.names == ("0", "2")
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(chain(images), network(images))
