"""What is trained on top of the feature layers, as in the paper: Flatten, Dense, Dropout, Dense."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layershap.chain.layouts import Layout


class FlatPlaces(nn.Module):
    """Features that are no plain maps, as one row an image: the grid's tokens as maps, pooled; then the prefix's.

    From [N, T, C] or [N, H, W, C] to [N, C * height * width + C * prefix tokens]. `pool`: 0 leaves the grid as it is.
    """

    def __init__(self, layout: Layout, pool: int):
        super().__init__()
        self.layout = layout
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, width]."""
        places, prefix = self.layout.maps(features), self.layout.prefix
        maps = self.layout.on_grid(places)
        maps = (F.adaptive_avg_pool2d(maps, self.pool) if self.pool else maps).flatten(1)
        return torch.cat([maps, places[:, :, :prefix, 0].flatten(1)], 1) if prefix else maps


def build_head(
    shape: Sequence[int],
    pool: int,
    hidden: Sequence[int],
    dropout: float,
    classes: int,
    layout: Layout | None = None,
) -> nn.Sequential:
    """Flatten, then Dense + ReLU and Dropout for each of `hidden`, then Dense to the classes, as in the paper.

    `shape`: of the features below, [C, H, W]; with a `layout` also [H, W, C] or [T, C]. `pool`: first average their
    grid to pool x pool places (0: not).
    """
    if layout is None or layout.kind == "maps":
        modules: list[nn.Module] = [nn.AdaptiveAvgPool2d(pool)] if pool else []
        modules.append(nn.Flatten())
        width = shape[0] * (pool * pool if pool else shape[1] * shape[2])
    else:
        modules = [FlatPlaces(layout, pool)]
        width = shape[-1] * ((pool * pool if pool else layout.grid[0] * layout.grid[1]) + layout.prefix)
    for units in hidden:
        modules += [nn.Sequential(nn.Linear(width, units), nn.ReLU()), nn.Dropout(dropout)]
        width = units
    if not hidden and dropout:
        modules.append(nn.Dropout(dropout))
    modules.append(nn.Linear(width, classes))
    return nn.Sequential(*modules)
