"""The secant rule: gradients between neighbouring points of a path instead of at points.

Rows of every tensor are points: [paths * points, ...], the points of one path one after the other, the last one its
end. Under `SecantMode`, the gradient that autograd brings to the row of point k is the multiplier m of the segment
from point k to point k + 1, and the row of the last point stays 0. For every operation

    sum over inputs of m_input * (input_{k+1} - input_k)  =  m_output * (output_{k+1} - output_k)

exactly, so that the sum over a layer's features is f(end) - f(start) whatever the number of points. With one segment
this is the Rescale rule of DeepLIFT (Shrikumar et al. 2017, eq. 3.5); with many it tends to the integral of Aumann
and Shapley (integrated gradients).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class UnsupportedOperationError(NotImplementedError):
    """The network uses an operation for which no exact rule is known."""


def _neighbours(tensor: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return views of the start and of the end of every segment, [paths, points - 1, ...]."""
    rows = tensor.unflatten(0, (-1, points))
    return rows[:, :-1], rows[:, 1:]


class _Elementwise(torch.autograd.Function):
    """m <- m (r(b) - r(a)) / (b - a); where |b - a| is tiny, the derivative half way."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, function: Callable[[Tensor], Tensor], kind: str, points: int) -> Tensor:
        outputs = function(inputs)
        ctx.save_for_backward(inputs, outputs)
        ctx.function, ctx.points = function, points
        ctx.kinked, ctx.clamps = kind != "smooth", kind == "clamp"
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        inputs, outputs = ctx.saved_tensors
        start, end = _neighbours(inputs, ctx.points)
        start_out, end_out = _neighbours(outputs, ctx.points)
        result = torch.zeros_like(inputs)
        step = end - start
        if ctx.kinked:
            # the quotient of a piecewise linear function is right for any step but 0
            tiny = step == 0
        else:
            # where rounding of the quotient meets the error of the derivative
            tolerance = torch.finfo(inputs.dtype).eps ** (1 / 3)
            tiny = step.abs() <= tolerance * (1 + torch.maximum(start.abs(), end.abs()))
        slope = (end_out - start_out).div_(step.masked_fill_(tiny, 1.0))
        if ctx.clamps:
            # inside the bounds the function is the identity
            slope += (start == start_out).logical_and_(tiny)
        elif tiny.any():
            with torch.enable_grad():
                middle = ((start + end) / 2)[tiny].detach().requires_grad_()
                slope[tiny] = torch.autograd.grad(ctx.function(middle).sum(), middle)[0]
        given, _ = _neighbours(gradients[0], ctx.points)
        torch.mul(given, slope, out=_neighbours(result, ctx.points)[0])
        return result, None, None, None


class _MaxPool(torch.autograd.Function):
    """The change of each maximum goes to the place of the larger end: m (y_b - y_a) / (z_b - z_a) there.

    With c = max(y_a, y_b): m (c - y_a) to the argmax of b and m (y_b - c) to the argmax of a; one of them is 0.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]], points: int) -> Tensor:
        outputs, places = pool(inputs)
        ctx.save_for_backward(inputs, outputs, places)
        ctx.points = points
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        inputs, outputs, places = (tensor.contiguous() for tensor in ctx.saved_tensors)
        points = ctx.points
        start_out, end_out = _neighbours(outputs, points)
        start_place, end_place = _neighbours(places, points)
        place = torch.where(end_out >= start_out, end_place, start_place).flatten(3)
        start, end = _neighbours(inputs, points)
        step = torch.gather((end - start).flatten(3), 3, place)
        change = (end_out - start_out).flatten(3)
        # no step, no change: any share is exact; the derivative is 1
        slope = torch.where(step == 0, 1.0, change / step.masked_fill(step == 0, 1.0))
        given, _ = _neighbours(gradients[0].contiguous(), points)
        result = torch.zeros_like(inputs)
        target = _neighbours(result, points)[0].flatten(3)
        target = torch.zeros_like(target).scatter_add_(3, place, given.flatten(3) * slope)
        _neighbours(result, points)[0].copy_(target.view_as(start))
        return result, None, None


class _Product(torch.autograd.Function):
    """m_u = m (v_a + v_b) / 2 and m_v = m (u_a + u_b) / 2."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, points: int) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.points = points
        return left * right

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors
        given = gradients[0]
        to_left = (given * _middle(right, ctx.points)).sum_to_size(left.shape)
        to_right = (given * _middle(left, ctx.points)).sum_to_size(right.shape)
        return to_left, to_right, None


def _middle(tensor: Tensor, points: int) -> Tensor:
    """Return the mean of every point and the next; the last row, which starts no segment, is 0."""
    tensor = tensor.contiguous()
    result = torch.zeros_like(tensor)
    start, end = _neighbours(tensor, points)
    torch.add(start, end, out=_neighbours(result, points)[0])
    return result.div_(2)


# elementwise functions by the names under which torch calls them, and their kind: smooth; kinked, that is piecewise
# linear; clamp, that is the identity between two bounds and constant outside
ELEMENTWISE: dict[str, tuple[Callable[..., Tensor], str]] = {
    "relu": (F.relu, "clamp"),
    "relu6": (F.relu6, "clamp"),
    "hardtanh": (F.hardtanh, "clamp"),
    "leaky_relu": (F.leaky_relu, "kinked"),
    "clamp": (torch.clamp, "clamp"),
    "abs": (torch.abs, "kinked"),
    "elu": (F.elu, "smooth"),
    "selu": (F.selu, "smooth"),
    "celu": (F.celu, "smooth"),
    "silu": (F.silu, "smooth"),
    "mish": (F.mish, "smooth"),
    "gelu": (F.gelu, "smooth"),
    "softplus": (F.softplus, "smooth"),
    "sigmoid": (torch.sigmoid, "smooth"),
    "log_sigmoid": (F.logsigmoid, "smooth"),
    "hardsigmoid": (F.hardsigmoid, "kinked"),
    "hardswish": (F.hardswish, "smooth"),
    "tanh": (torch.tanh, "smooth"),
    "exp": (torch.exp, "smooth"),
    "sqrt": (torch.sqrt, "smooth"),
    "rsqrt": (torch.rsqrt, "smooth"),
}

# linear in the one argument that depends on the path: autograd's own gradient is exact
LINEAR = frozenset(
    [
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose2d",
        "linear",
        "add",
        "sub",
        "rsub",
        "neg",
        "cat",
        "concat",
        "stack",
        "mean",
        "sum",
        "flatten",
        "reshape",
        "view",
        "view_as",
        "permute",
        "transpose",
        "contiguous",
        "to",
        "float",
        "double",
        "clone",
        "unsqueeze",
        "squeeze",
        "expand",
        "expand_as",
        "pad",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "chunk",
        "split",
        "unbind",
        "narrow",
        "interpolate",
        "pixel_shuffle",
        "identity",
        "movedim",
        "swapaxes",
        "__getitem__",
        "__add__",
        "__radd__",
        "__sub__",
        "__rsub__",
        "__neg__",
    ]
)

# in-place and operator spellings of the same operations
SPELLINGS = {
    "add_": "add",
    "__iadd__": "add",
    "sub_": "sub",
    "__isub__": "sub",
    "mul_": "mul",
    "__imul__": "mul",
    "__mul__": "mul",
    "__rmul__": "mul",
    "multiply": "mul",
    "div_": "div",
    "true_divide": "div",
    "__truediv__": "div",
    "__itruediv__": "div",
    "__rdiv__": "rdiv",
    "__rtruediv__": "rdiv",
    "clip": "clamp",
    "max_pool2d_with_indices": "max_pool2d",
    "_max_pool2d": "max_pool2d",
    **{f"{name}_": name for name in ELEMENTWISE},
}

# what only looks at a tensor
QUESTIONS = frozenset(
    [
        "size",
        "dim",
        "ndim",
        "shape",
        "dtype",
        "device",
        "layout",
        "stride",
        "numel",
        "nelement",
        "is_contiguous",
        "is_floating_point",
        "requires_grad",
        "is_cuda",
        "is_sparse",
        "is_quantized",
        "is_complex",
        "element_size",
        "__len__",
        "get_device",
        "is_mkldnn",
        "is_meta",
        "data_ptr",
    ]
)


class SecantMode(TorchFunctionMode):
    """Replace every nonlinear operation on path tensors by its secant rule.

    `points`: rows per path. Operations on other tensors are left alone. An in-place operation becomes an ordinary
    one whose result takes its operand's place from then on.
    """

    def __init__(self, points: int):
        super().__init__()
        self.points = points
        self.replaced: dict[int, tuple[Tensor, Tensor]] = {}

    def current(self, value: Any) -> Any:
        """Return the tensor that an in-place operation put in the place of `value`, else `value` itself."""
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self.current(item) for item in value)
        while isinstance(value, Tensor) and id(value) in self.replaced:
            value = self.replaced[id(value)][1]
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            name = func.__self__.__name__
        if self.replaced:
            args = tuple(self.current(value) for value in args)
            kwargs = {key: self.current(value) for key, value in kwargs.items()}
        operands = [value for value in _flat([*args, *kwargs.values()]) if _on_path(value)]
        if not operands or name in QUESTIONS:
            return func(*args, **kwargs)
        result = self._apply(SPELLINGS.get(name, name), func, operands, args, kwargs)
        for output in _flat([result]):
            if isinstance(output, Tensor) and (output.dim() == 0 or output.shape[0] != operands[0].shape[0]):
                raise UnsupportedOperationError(f"{name} mixes the images of a batch: no exact rule is known")
        if args and (
            (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or kwargs.get("inplace")
        ):
            self.replaced[id(args[0])] = (args[0], result)
        return result

    def _apply(self, name: str, func: Any, operands: list[Tensor], args: Any, kwargs: Any) -> Any:
        if name in ELEMENTWISE and len(operands) == 1:
            function, kind = ELEMENTWISE[name]
            options = {key: value for key, value in kwargs.items() if key not in ("inplace", "input")}
            rest = args[1:] if args else ()
            if name in ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish"):
                rest = tuple(value for value in rest if not isinstance(value, bool))
            return _Elementwise.apply(operands[0], lambda tensor: function(tensor, *rest, **options), kind, self.points)
        if name in ("max_pool2d", "adaptive_max_pool2d"):
            return self._max_pool(name, *args, **kwargs)
        if name in ("mul", "div", "rdiv"):
            return self._mul_or_div(name, args, kwargs)
        if name == "square" or (name in ("pow", "__pow__") and args[1:] == (2,)):
            return _Product.apply(operands[0], operands[0], self.points)
        if name in ("dropout", "feature_dropout", "alpha_dropout", "dropout2d"):
            if not _option(args, kwargs, 2, "training", True):
                return operands[0]
            raise UnsupportedOperationError(f"{name} while training is random: call model.eval() first")
        if name == "batch_norm":
            if not _option(args, kwargs, 5, "training", False):
                return func(*args, **kwargs)
            raise UnsupportedOperationError("batch_norm while training mixes the images of a batch: use model.eval()")
        if name == "interpolate" and kwargs.get("mode", "nearest") not in (
            "nearest",
            "bilinear",
            "bicubic",
            "area",
        ):
            raise UnsupportedOperationError(f"interpolate with mode {kwargs['mode']}: no exact rule is known")
        if name in ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear") and len(operands) > 1:
            raise UnsupportedOperationError(f"{name} with weights that depend on the image: no exact rule is known")
        if name in LINEAR:
            plain = {"add": torch.add, "sub": torch.sub}.get(name)
            return plain(*args, **kwargs) if plain and func is not torch.rsub else func(*args, **kwargs)
        raise UnsupportedOperationError(
            f"no exact rule is known for the operation {name!r}; rewrite the layer with supported ones "
            f"({', '.join(sorted(ELEMENTWISE))}, max_pool2d, mul, and linear operations)"
        )

    def _max_pool(
        self,
        name: str,
        tensor: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if return_indices:
            raise UnsupportedOperationError(f"{name} that returns indices: no exact rule is known")
        if name == "adaptive_max_pool2d":
            return _MaxPool.apply(
                tensor,
                lambda value: F.adaptive_max_pool2d(value, kernel_size, return_indices=True),
                self.points,
            )

        def pool(value: Tensor) -> tuple[Tensor, Tensor]:
            return F.max_pool2d_with_indices(value, kernel_size, stride, padding, dilation, ceil_mode)

        return _MaxPool.apply(tensor, pool, self.points)

    def _mul_or_div(self, name: str, args: Any, kwargs: Any) -> Tensor:
        left, right = args[0], args[1] if len(args) > 1 else kwargs["other"]
        if name == "rdiv":
            name, left, right = "div", right, left
        if name == "div":
            if kwargs.get("rounding_mode"):
                raise UnsupportedOperationError("div with rounding: no exact rule is known")
            if not _on_path(right):
                return torch.div(left, right)
            right = _Elementwise.apply(right, torch.reciprocal, "smooth", self.points)
        if _on_path(left) and _on_path(right):
            return _Product.apply(left, right, self.points)
        return left * right


def _option(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _on_path(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _flat(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat += _flat(value) if isinstance(value, (list, tuple)) else [value]
    return flat
