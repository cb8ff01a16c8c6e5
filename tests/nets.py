"""Small networks for the tests of the engine."""

import torch
from torch import nn

from layershap.explain import Chain


def small_chain(classes=2, dtype=torch.float64, seed=0, activation=nn.ReLU, pool=nn.MaxPool2d):
    """Two convolutions with a pool between, and a head: 8 x 8 images of two colours."""
    torch.manual_seed(seed)
    layers = [
        ("conv1", nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), activation())),
        ("pool", pool(2)),
        ("conv2", nn.Sequential(nn.Conv2d(4, 3, 3), activation())),
    ]
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 5), activation(), nn.Dropout(0.5), nn.Linear(5, classes))
    return Chain(layers, head).to(dtype).eval()


def data(count=3, references=4, dtype=torch.float64, seed=1, shape=(2, 8, 8)):
    """Images and references."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, *shape, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(references, *shape, generator=generator, dtype=torch.float64).to(dtype),
    )


class Residual(nn.Module):
    """A residual block with squeeze-and-excitation, every operation in a functional or in-place spelling."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.squeeze = nn.Conv2d(width, width, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        """Return act(x + gate * conv(x))."""
        y = self.act(self.norm(self.first(x)))
        gate = torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        y = y * gate
        y += x
        return self.act(y)


class Hook(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class ClassToken(nn.Module):
    """The places of maps as tokens, after one of its own."""

    def __init__(self, width):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))

    def forward(self, x):
        """Return [N, 1 + H * W, C] of [N, C, H, W]."""
        return torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)


def token_chain(classes=2, seed=0):
    """Patches, then tokens that attend to each other, of which the first decides: 8 x 8 images of three colours."""
    torch.manual_seed(seed)
    layers = [("patches", nn.Conv2d(3, 8, 2, 2)), ("tokens", ClassToken(8))]
    layers += [(name, nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)) for name in ("first", "second")]
    return Chain(layers, nn.Sequential(Hook(lambda x: x[:, 0]), nn.Linear(8, classes))).eval()
