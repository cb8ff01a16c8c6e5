"""Where the places of a layer's features lie: maps, maps with the channels last, or tokens of a grid."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

MOST_PREFIX_TOKENS = 8  # class, distillation and register tokens stand before those of the grid


@dataclass(frozen=True)
class Layout:
    """`kind`: maps [N, C, H, W], last [N, H, W, C] or tokens [N, T, C]. `grid`: H and W. `prefix`: tokens before it."""

    kind: Literal["maps", "last", "tokens"]
    grid: tuple[int, int]
    prefix: int = 0

    @classmethod
    def of(cls, features: Tensor, height: int, width: int) -> "Layout":
        """Tell the layout of `features` [N, ...] of images of this size; raise ValueError where there is none.

        Maps have the images' proportions; where both ways to read four axes do, the channels come first. Of tokens,
        the fewest that leave such a grid are the prefix.
        """
        shape = features.shape
        if len(shape) == 4:
            first = _alike(shape[2], shape[3], height, width)
            if not first and _alike(shape[1], shape[2], height, width):
                return cls("last", (shape[1], shape[2]))
            return cls("maps", (shape[2], shape[3]))
        if len(shape) == 3:
            for prefix in range(min(MOST_PREFIX_TOKENS, shape[1] - 1) + 1):
                count = shape[1] - prefix
                rows = round((count * height / width) ** 0.5)
                if rows and count % rows == 0 and _alike(rows, count // rows, height, width):
                    return cls("tokens", (rows, count // rows), prefix)
        raise ValueError(f"{list(shape)} is neither maps [N, channels, height, width] nor tokens [N, tokens, channels]")

    def maps(self, tensor: Tensor) -> Tensor:
        """Return [rows, C, H, W] of maps, [rows, C, T, 1] of tokens."""
        if self.kind == "last":
            return tensor.permute(0, 3, 1, 2)
        return tensor.transpose(1, 2)[..., None] if self.kind == "tokens" else tensor

    def own(self, values: Tensor) -> Tensor:
        """Return values [N, C, ...] as `maps` gave them in the layer's own order of axes."""
        if self.kind == "last":
            return values.permute(0, 2, 3, 1)
        return values[..., 0].transpose(1, 2) if self.kind == "tokens" else values

    def on_grid(self, values: Tensor) -> Tensor:
        """Return values [..., H, W] of values [..., places] as `maps` orders them; a prefix is left out."""
        return values[..., self.prefix :, 0].unflatten(-1, self.grid) if self.kind == "tokens" else values

    def of_prefix(self, values: Tensor) -> Tensor | None:
        """Return the sum [...] over the prefix of values [..., places]; None where there is none."""
        return values[..., : self.prefix, 0].sum(-1) if self.prefix else None


def _alike(rows: int, columns: int, height: int, width: int) -> bool:
    """Return whether a grid is what a step of whole pixels makes of an image, both sides rounded up or both down."""
    if height == width:
        return rows == columns
    return any(
        (rows, columns) in ((height // step, width // step), (-(-height // step), -(-width // step)))
        for step in range(1, height + 1)
    )
