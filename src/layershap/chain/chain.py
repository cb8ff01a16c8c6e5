"""A model as a chain: feature layers with names, then a head."""

from collections.abc import Sequence

from torch import Tensor, nn


class Chain(nn.Module):
    """Feature layers one after the other, then the head: `head(layer_n(...layer_1(images)))`.

    `layers`: (name, module) pairs; each module maps one tensor to one tensor [N, C, H, W]. `head`: from the last
    layer's features to logits [N, classes]. Names are unique and not empty (ValueError).
    """

    def __init__(self, layers: Sequence[tuple[str, nn.Module]], head: nn.Module):
        super().__init__()
        names = [name for name, _ in layers]
        if not names:
            raise ValueError("a Chain needs at least one feature layer")
        repeated = sorted({name for name in names if names.count(name) > 1 or not name})
        if repeated:
            raise ValueError(f"layer names must be unique and not empty, not {repeated}")
        self.names = tuple(names)
        self.layers = nn.ModuleList(module for _, module in layers)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, 3, H, W]."""
        return self.head(self.features(images))

    def features(self, tensor: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Apply the layers `start` (counted from 0) up to, not including, `stop` (default: all)."""
        for layer in self.layers[start:stop]:
            tensor = layer(tensor)
        return tensor

    def tail(self, features: Tensor, start: int) -> Tensor:
        """Return logits from the input of layer `start`: F^l of the output of layer start - 1."""
        return self.head(self.features(features, start))
