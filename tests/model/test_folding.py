"""Batch norm is folded where the network's course shows that it may be, and nowhere else."""

import copy

import pytest
import torch
from torch import nn

from layershap.model.folding import fold_where_it_follows
from layershap.model.timm_networks import timm
from layershap.torchvision_guard import torchvision


class Crossed(nn.Module):
    """Children in the order conv, norm, conv, norm; computed in another: two norms do not follow their neighbour."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.norm_of_two = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(3, 4, 3, padding=1)
        self.norm_of_sum = nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm_of_sum(self.one(images) + self.norm_of_two(self.two(images))).mean((2, 3))


class Repeated(nn.Module):
    """A convolution that is called twice, and one whose result is used beside its norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.norm_of_first = nn.BatchNorm2d(4)

    def forward(self, images):
        x = self.stem(images)
        x = x * self.norm(x)
        return self.twice(self.norm_of_first(self.twice(x))).mean((2, 3))


class Shared(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3)
        self.two = nn.Conv2d(3, 4, 3)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images):
        return (self.norm(self.one(images)) * self.two(images)).mean((2, 3))


NETWORKS = {  # and how many norms stay
    "crossed": (Crossed, 1),
    "repeated": (Repeated, 2),
    "shared": (Shared, 1),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=5), 0),
    "timm, norm with activation": (lambda: timm.create_model("tf_efficientnet_b0", num_classes=5), 0),
    "timm, norm before convolution": (lambda: timm.create_model("densenet121", num_classes=5), 62),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name):
    build, stay = NETWORKS[name]
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    folded = copy.deepcopy(network)
    images = torch.rand(2, 3, 32, 32)
    fold_where_it_follows(folded, images[:1])
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == stay
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(folded(images), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
