"""Whole networks as torchvision defines them: batch norm unfolded, in-place activations, gates, dense blocks."""

import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.torchvision_guard import torchvision

pytestmark = pytest.mark.slow

models = torchvision.models

# maps of the last feature layer
WIDTHS = {
    "vgg19": 512,
    "resnet18": 512,
    "mobilenet_v2": 1280,
    "efficientnet_b0": 1280,
    "densenet121": 1024,
    "convnext_tiny": 768,
}


def cut(name: str) -> Chain:
    """Return torchvision's network as a chain of its top-level feature modules."""
    torch.manual_seed(0)
    network = models.get_model(name, weights=None)
    if name == "resnet18":
        names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        parts = [(part, network.get_submodule(part)) for part in names]
    else:
        parts = [(f"features{number}", module) for number, module in enumerate(network.features)]
    head = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[name], 2))
    chain = Chain(parts, head)
    with torch.no_grad():
        # statistics of real data, without which the signal of random weights dies away
        chain.train()
        chain(torch.randn(8, 3, 64, 64))
        for module in chain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        chain(torch.randn(8, 3, 64, 64))
    return chain.eval()


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("path", ["layer", "image"])
def test_sums_are_exact_at_every_layer(name, path):
    chain = cut(name)
    generator = torch.Generator().manual_seed(1)
    images, references = (torch.randn(n, 3, 64, 64, generator=generator) for n in (1, 2))
    # every third layer of the long ones will do: they share the modules above
    layers = chain.names[:: max(1, len(chain.names) // 6)]
    for segments in (1, 2):
        options = {"path": path, "segments": segments, "layers": layers}
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-4)):
            result = explain_layers(chain.to(dtype), images.to(dtype), references.to(dtype), **options)
            for layer in result.values():
                assert float((layer.gap / layer.total).abs()) < tolerance
