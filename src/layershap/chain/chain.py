"""A model as a chain: feature layers with names, then a head."""

from collections.abc import Sequence

from torch import Tensor, nn

from layershap.chain.whole import cut


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

    @classmethod
    def of(cls, model: nn.Module, example: Tensor | None = None, layers: str | Sequence[str] | None = None) -> "Chain":
        """Return a classifier as a chain: cut at points through which all data passes, so that every sum is exact.

        A layer is a block, or a convolution, pool or the like with the activation and norm that follow it; it has the
        name of the module that computes it, and maps or tokens of a grid as features. Pooling to one place and what
        follows it is the head. The chain shares the model's modules and weights, and these stay in their mode; what a
        layer does besides calling whole modules is kept as it is in eval mode.

        `example`: images [N, 3, H, W] (default: zeros of the size that the model's configuration names, or 224); the
        chain is made for their size. `layers`: names, or patterns such as 'blocks.*', of the layers wanted; the
        others belong to the next one that is, or to the head (default: all). Raises CannotBeCutError (a ValueError),
        which says why, and ValueError for names that fit no layer.
        """
        pieces, head = cut(model, example, layers)
        chain = cls(pieces, head)
        chain.training = model.training
        return chain

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
