"""How the points of paths go through a network: as a batch, or each by itself.

Most networks keep the images on the first axis, and the points are a batch like any other. Attention and windows move
that axis, or fold others into it; then torch.vmap runs the network as for one image, and every tensor carries its rows
beside its own axes. A rule takes them out, and works on [rows, ...] as ever.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor


def unwrapped(value: Tensor) -> Tensor:
    """Return the tensor with the rows, where `value` stands for one row of it under torch.vmap."""
    with torch._C.DisableTorchFunction():
        while is_batchedtensor(value):
            value = get_unwrapped(value)
    return value


def on_path(value: Any) -> bool:
    """Return whether a value is a tensor that depends on the path."""
    return isinstance(value, Tensor) and unwrapped(value).requires_grad


class Tap(torch.autograd.Function):
    """Under torch.vmap: give the rows [rows, ...] of a tensor [1, ...] to a function, go on with what it returns."""

    @staticmethod
    def forward(value: Tensor, take: Callable[[Tensor], Tensor]) -> Tensor:
        """Not called: the tensor is always one of torch.vmap's."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, value: Tensor, take: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
        """Return the rows as `take` gives them back."""
        return take(value.movedim(in_dims[0], 0).flatten(0, 1)).unsqueeze(1), 0


class OnRows(torch.autograd.Function):
    """Under torch.vmap: apply a rule to the rows of its inputs.

    `alone`: the rule looks at every number, or plane, by itself; with one image the axis of images then goes, so that
    the rows look as a batch does.
    """

    @staticmethod
    def forward(rule: Any, alone: bool, first: list[Any] | None, count: int, *arguments: Any) -> Tensor:
        """Not called: an input is always one of torch.vmap's."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, rule: Any, alone: bool, first: list[Any] | None, count: int, *arguments: Any
    ) -> tuple[Tensor, int]:
        """Return the rule's result, rows first."""
        inputs = [
            value.movedim(dim, 0) if dim is not None else value.expand(info.batch_size, *value.shape)
            for value, dim in zip(arguments[:count], in_dims[4 : 4 + count], strict=True)
        ]
        ends = list(arguments[count : 2 * count])
        if first is not None:
            first.append(tuple(value.detach()[0].clone() for value in inputs))
        flat = alone and all(value.shape[1] == 1 for value in inputs)
        if flat:
            inputs = [value.flatten(0, 1) for value in inputs]
        else:
            ends = [value[None] for value in ends]
        result = rule.apply(*inputs, *ends, *arguments[2 * count :])
        return (result.unsqueeze(1) if flat else result), 0


class LinearOnRows(torch.autograd.Function):
    """Under torch.vmap: torch's linear of all rows at once, its bias added on the way; vmap adds it afterwards."""

    @staticmethod
    def forward(value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Not called: the value is always one of torch.vmap's."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, value: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        """Return the result, rows first."""
        rows = value.movedim(in_dims[0], 0)
        return F.linear(rows.flatten(0, -2), weight, bias).unflatten(0, rows.shape[:-1]), 0


def apply_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return torch's linear of a value on the path."""
    with torch._C.DisableTorchFunction():
        if is_batchedtensor(input):
            result: Tensor = LinearOnRows.apply(input, weight, bias)
            return result
        return F.linear(input, weight, bias)


def apply_rule(
    rule: Any, alone: bool, inputs: Sequence[Tensor], end: Sequence[Tensor], first: list[Any] | None, options: Any
) -> Tensor:
    """Return what `rule` makes of `inputs` at the rows and at the end; `first`: gets what the first row takes in."""
    if any(is_batchedtensor(value) for value in inputs):
        return OnRows.apply(rule, alone, first, len(inputs), *inputs, *end, *options)
    if first is not None:
        first.append(tuple(value.detach()[:1].clone() for value in inputs))
    return rule.apply(*inputs, *end, *options)


# where the axis stands among the arguments, and what it is if it is not given
AXIS = {
    **dict.fromkeys(["unbind", "cat", "concat", "stack", "flatten"], (1, 0)),
    **dict.fromkeys(["split", "split_with_sizes", "chunk", "tensor_split"], (2, 0)),
    **dict.fromkeys(
        ["select", "unsqueeze", "squeeze", "narrow", "index_select", "flip", "cumsum", "unflatten"], (1, None)
    ),
    **dict.fromkeys(
        ["mean", "sum", "var", "std", "var_mean", "softmax", "log_softmax", "logsumexp", "max", "min", "amax", "amin"],
        (1, None),
    ),
    **dict.fromkeys(["roll", "repeat_interleave", "norm", "linalg_vector_norm"], (2, None)),
    "normalize": (2, 1),
}
TWO_AXES = ("transpose", "movedim", "moveaxis", "swapaxes", "swapdims")


def moves_images(name: str, operand: Tensor, args: Any, kwargs: Any) -> bool:
    """Return whether an operation may take the images from the first axis, or anything from one to another."""
    axes = operand.dim()
    if name == "permute":
        order = args[1:] or (kwargs["dims"],)
        return (order[0] if isinstance(order[0], int) else order[0][0]) % axes != 0
    if name in TWO_AXES:
        return _holds_first([*args[1:], *kwargs.values()], axes)
    if name in ("__getitem__", "__setitem__"):
        index = args[1][0] if isinstance(args[1], tuple) else args[1]
        return not (index is Ellipsis or (isinstance(index, slice) and index == slice(None)))
    if name in ("matmul", "rmatmul", "baddbmm", "addmm"):
        together = [value for value in (*args, *kwargs.values()) if on_path(value)]
        return len(together) > 1 and any(value.dim() != axes or axes < 3 for value in together)
    if name in ("einsum", "t", "T", "diagonal", "hstack", "vstack", "fold", "col2im"):
        return True
    if name == "mT":
        return axes < 3
    if name in AXIS:
        place, default = AXIS[name]
        axis = (
            args[place]
            if len(args) > place
            else kwargs.get("dim", kwargs.get("dims", kwargs.get("start_dim", default)))
        )
        return not isinstance(axis, Tensor) and (axis is None or _holds_first([axis], axes))
    return False


def _holds_first(given: Any, axes: int) -> bool:
    flat = [item for value in given for item in (value if isinstance(value, (list, tuple)) else [value])]
    return any(isinstance(item, int) and item in (0, -axes) for item in flat)
