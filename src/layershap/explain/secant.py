"""The secant rule: gradients between neighbouring points of a path instead of at points.

All paths end in the same point, the image; what every operation takes in there is recorded once, in a `Trace`. Rows of
every other tensor are the points before it; `following[i]` is the row of the point after point i on its path, or the
number of rows where that is the end. Under `SecantMode`, the gradient that autograd brings to row i is the multiplier m
of the segment from point i to the point following it. For every operation

    sum over inputs of m_input * (input_b - input_a)  =  m_output * (output_b - output_a)

exactly, so that the sum over a layer's features is f(end) - f(start) whatever the number of points. With one segment
this is the Rescale rule of DeepLIFT (Shrikumar et al. 2017, eq. 3.5); with many it tends to the integral of Aumann
and Shapley (integrated gradients). The rules themselves stand in rules.py.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from layershap.explain.rules import AdaptiveMaxPool, Clamp, Elementwise, MaxPool, Product


class UnsupportedOperationError(NotImplementedError):
    """The network uses an operation for which no exact rule is known."""


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


class Trace:
    """What the nonlinear operations of a network take in at one point, in the order of their calls."""

    def __init__(self, values: Iterable[tuple[Tensor, ...]] = ()) -> None:
        self.values = list(values)

    def at(self, position: int, inputs: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
        """Return the values of call `position`, which must fit `inputs` but for the number of rows."""
        found = self.values[position] if position < len(self.values) else ()
        if [value.shape[1:] for value in found] != [value.shape[1:] for value in inputs]:
            raise UnsupportedOperationError(f"{name}: the network takes another course for one image than for several")
        return found


class SecantMode(TorchFunctionMode):
    """Replace every nonlinear operation on path tensors by its secant rule, or record what it takes in.

    `trace`: filled where `following` is None, read from `position` on elsewhere.
    `following`: see above, [rows] of int64. `first`: is filled with what the first row takes in. Operations on other
    tensors are left alone. An in-place operation becomes an ordinary one whose result takes its operand's place from
    then on. Other tensors in the operand's memory (its views, its base) would see the change in the plain network and
    do not here: their later use is refused, whatever made them. The operand is kept, so no other takes its memory.
    """

    def __init__(self, trace: Trace, following: Tensor | None = None, position: int = 0, first: Trace | None = None):
        super().__init__()
        self.trace = trace
        self.following = following
        self.position = position
        self.first = first
        self.replaced: dict[int, tuple[Tensor, Tensor]] = {}
        self.overwritten: set[int] = set()

    def current(self, value: Any) -> Any:
        """Return the tensor that an in-place operation put in the place of `value`, else `value` itself."""
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self.current(item) for item in value)
        while isinstance(value, Tensor) and id(value) in self.replaced:
            value = self.replaced[id(value)][1]
        if self.overwritten and isinstance(value, Tensor) and _memory(value) in self.overwritten:
            raise UnsupportedOperationError(
                "a tensor is used whose memory an in-place operation on a view, or on its base, has changed: no exact "
                "rule is known; use the ordinary operation (x.relu() for x.relu_())"
            )
        return value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            name = func.__self__.__name__
        if self.replaced and name not in QUESTIONS:
            args = tuple(self.current(value) for value in args)
            kwargs = {key: self.current(value) for key, value in kwargs.items()}
        operands = [value for value in _flat([*args, *kwargs.values()]) if _on_path(value)]
        if not operands or name in QUESTIONS:
            return func(*args, **kwargs)
        result = self._apply(SPELLINGS.get(name, name), func, operands, args, kwargs)
        for output in _flat([result]):
            if isinstance(output, Tensor) and (output.dim() == 0 or output.shape[0] != operands[0].shape[0]):
                raise UnsupportedOperationError(f"{name} mixes the images of a batch: no exact rule is known")
        if (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or kwargs.get("inplace"):
            changed = args[0] if args else kwargs["input"]
            if result is not changed:  # dropout in eval changes nothing
                self.replaced[id(changed)] = (changed, result)
                self.overwritten.add(_memory(changed))
        return result

    def _apply(self, name: str, func: Any, operands: list[Tensor], args: Any, kwargs: Any) -> Any:
        if name in ELEMENTWISE and len(operands) == 1:
            function, kind = ELEMENTWISE[name]
            options = {key: value for key, value in kwargs.items() if key not in ("inplace", "input")}
            rest = args[1:] if args else ()
            if name in ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish"):
                rest = tuple(value for value in rest if not isinstance(value, bool))

            def applied(tensor: Tensor) -> Tensor:
                return function(tensor, *rest, **options)

            if kind == "clamp" and not any(isinstance(bound, Tensor) for bound in (*rest, *options.values())):
                return self._rule(name, Clamp, applied, (operands[0],), applied)
            return self._rule(name, Elementwise, applied, (operands[0],), applied, kind == "smooth")
        if name in ("max_pool2d", "adaptive_max_pool2d"):
            return self._max_pool(name, *args, **kwargs)
        if name in ("mul", "div", "rdiv"):
            return self._mul_or_div(name, args, kwargs)
        if name == "square" or (name in ("pow", "__pow__") and args[1:] == (2,)):
            return self._rule(name, Product, torch.mul, (operands[0], operands[0]))
        if name in ("dropout", "feature_dropout", "alpha_dropout", "dropout2d"):
            if not _option(args, kwargs, 2, "training", True):
                return operands[0]
            raise UnsupportedOperationError(f"{name} while training is random: call model.eval() first")
        if name == "batch_norm":
            if not _option(args, kwargs, 5, "training", False):
                return func(*args, **kwargs)
            raise UnsupportedOperationError("batch_norm while training mixes the images of a batch: use model.eval()")
        if name == "layer_norm":
            return self._layer_norm(*args, **kwargs)
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

    def _rule(
        self, name: str, rule: Any, plain: Callable[..., Tensor], inputs: tuple[Tensor, ...], *options: Any
    ) -> Tensor:
        """Record the inputs and return the plain result; or apply the rule with what was recorded for the end."""
        if self.following is None:
            self.trace.values.append(tuple(value.detach() for value in inputs))
            return plain(*inputs)
        end = self.trace.at(self.position, inputs, name)
        self.position += 1
        if self.first is not None:
            self.first.values.append(tuple(value.detach()[:1].clone() for value in inputs))
        return rule.apply(*inputs, *end, *options, self.following)

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
            plain = partial(F.adaptive_max_pool2d, output_size=kernel_size)
            return self._rule(name, AdaptiveMaxPool, plain, (tensor,), kernel_size)
        options = (kernel_size, stride, padding, dilation, ceil_mode)
        return self._rule(name, MaxPool, lambda value: F.max_pool2d(value, *options), (tensor,), options)

    def _layer_norm(
        self,
        tensor: Tensor,
        shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Take layer_norm apart into operations that have rules."""
        axes = tuple(range(-len(shape), 0))
        with self:
            centred = tensor - tensor.mean(axes, keepdim=True)
            result = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
            result = result if weight is None else result * weight
            return result if bias is None else result + bias

    def _mul_or_div(self, name: str, args: Any, kwargs: Any) -> Tensor:
        left, right = args[0], args[1] if len(args) > 1 else kwargs["other"]
        if name == "rdiv":
            name, left, right = "div", right, left
        if name == "div":
            if kwargs.get("rounding_mode"):
                raise UnsupportedOperationError("div with rounding: no exact rule is known")
            if not _on_path(right):
                return torch.div(left, right)
            right = self._rule(name, Elementwise, torch.reciprocal, (right,), torch.reciprocal, True)
        if _on_path(left) and _on_path(right):
            return self._rule(name, Product, torch.mul, (left, right))
        return left * right


def _option(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _on_path(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _memory(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage().data_ptr()


def _flat(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat += _flat(value) if isinstance(value, (list, tuple)) else [value]
    return flat
