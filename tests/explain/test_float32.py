"""Each rule in float32 against float64: near 0, at size 1 and at 1e4, for steps from tiny to large."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.explain.secant import ELEMENTWISE, SecantMode, Trace
from nets import Hook, data

SIZES = [1e-6, 1e-3, 0.05, 0.3, 1.0, 30.0, 1e4]
STEPS = [0.0, 1e-6, 1e-4, 3e-3, 0.05, 0.5]  # relative
TOLERANCE = 2e-4
FUNCTIONS = {
    **{name: function for name, (function, _) in ELEMENTWISE.items() if name != "clamp"},
    "clamp": lambda x: torch.clamp(x, -0.3, 0.8),
    "reciprocal": lambda x: 1 / x,
    "square": torch.square,
    "product with itself": lambda x: x * (x + 1),
}
POSITIVE = {"sqrt", "rsqrt"}


def multipliers(function, start, end):
    """Return what the secant rule brings back for a gradient of ones, from `start` to `end` [n, ...]."""
    trace = Trace()
    with SecantMode(trace):
        function(end[None].clone().requires_grad_())
    leaf = start[None].clone().requires_grad_()
    with SecantMode(trace, torch.tensor([1])) as mode:
        output = mode.current(function(leaf))
    (found,) = torch.autograd.grad(output, leaf, torch.ones_like(output))
    return found[0]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("size", SIZES)
def test_elementwise(name, size):
    function = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(200, generator=generator) + 0.5
    if name not in POSITIVE:
        start *= torch.randint(0, 2, start.shape, generator=generator) * 2 - 1
    start = start * size
    for step in STEPS:
        end = start * (1 + step)
        if step == 0.5 and name not in POSITIVE:
            end = end - start * 2  # to the other side of 0
        found = multipliers(function, start, end).double()
        a, b = start.double(), end.double()
        width = b - a
        exact = (function(b) - function(a)) / width
        if not step:
            leaf = a.requires_grad_()
            (exact,) = torch.autograd.grad(function(leaf).sum(), leaf)
            a = leaf.detach()
        off = (found - exact).abs()
        # what rounding of the outputs alone makes of the change
        rounding = 4 * torch.finfo(torch.float32).eps * torch.maximum(function(a).abs(), function(b).abs())
        wrong = (off > TOLERANCE * exact.abs()) & (off * width.abs() > rounding)
        if not step:
            wrong = off > TOLERANCE * exact.abs() + torch.finfo(torch.float32).eps
        assert not wrong.any(), (step, start[wrong][:3], found[wrong][:3], exact[wrong][:3])


@pytest.mark.parametrize("pool", [lambda x: F.max_pool2d(x, 2), lambda x: F.adaptive_max_pool2d(x, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_pools(pool, size):
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(3, 8, 8, generator=generator) * size
    for step in STEPS:
        end = start + torch.randn(start.shape, generator=generator) * step * size
        found = multipliers(pool, start, end)
        exact = multipliers(pool, start.double(), end.double())
        torch.testing.assert_close(found.double(), exact, rtol=TOLERANCE, atol=1e-6)


class RootMeanSquareNorm(nn.Module):
    """x / sqrt(mean of x^2 + eps) over the channels."""

    def forward(self, x):
        """Return [N, C, H, W]."""
        return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6)


NORMS = {
    "layer norm": Hook(lambda x: F.layer_norm(x, x.shape[1:])),
    "layer norm of maps": Hook(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)),
    "rms norm": RootMeanSquareNorm(),
    "reciprocal": Hook(lambda x: x / (x.abs() + 1e-2)),
    "square root": Hook(lambda x: torch.sqrt(F.relu(x) + 1e-6)),
}


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("segments", [1, 4, 32])
@pytest.mark.parametrize("size", [0.05, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_network_with_values_of_every_size(name, size, segments, path):
    torch.manual_seed(2)
    scaled = Hook(lambda x: x * size)
    layers = [("first", nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), scaled)), ("norm", NORMS[name])]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))
    model = Chain(layers, head).eval()
    images, references = data(dtype=torch.float32)
    # ends that hardly differ are where quotients break
    references[0] = images[0] * 1.001
    for found in explain_layers(model, images, references, path=path, segments=segments).values():
        scale = found.heatmap.abs().sum((1, 2))
        assert (found.gap.abs() <= TOLERANCE * scale).all(), found.gap / scale
