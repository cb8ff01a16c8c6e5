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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from layershap.explain.attention import Bilinear, LogSoftmax, LogSumExp, Softmax
from layershap.explain.composites import COMPOSITES
from layershap.explain.norms import Standardise, standardised
from layershap.explain.operations import (
    CONSTANTS,
    ELEMENTWISE,
    LINEAR,
    QUESTIONS,
    SPELLINGS,
    UnsupportedOperationError,
)
from layershap.explain.quotients import Quotient
from layershap.explain.rows import apply_linear, apply_rule, moves_images, on_path, unwrapped
from layershap.explain.rules import AdaptiveMaxPool, Clamp, Elementwise, Extremes, MaxPool, Product

BILINEAR = ("matmul", "rmatmul", "einsum")
ALONE = (Clamp, Elementwise, MaxPool, AdaptiveMaxPool)


class Trace:
    """What the nonlinear operations of a network take in at one point, in the order of their calls."""

    def __init__(self, values: Iterable[tuple[Tensor, ...]] = (), moves: bool = False) -> None:
        self.values = list(values)
        self.moves = moves  # the axis of the images: see rows.py

    def elements(self, position: int = 0) -> int:
        """Return how many numbers these are, from call `position` on."""
        return sum(value.numel() for inputs in self.values[position:] for value in inputs)

    def at(self, position: int, inputs: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
        """Return the values of call `position`, which must fit `inputs` but for the number of rows."""
        found = self.values[position] if position < len(self.values) else ()
        start = 0 if self.moves else 1
        if [value.shape[start:] for value in found] != [value.shape[start:] for value in inputs]:
            raise UnsupportedOperationError(f"{name}: the network takes another course for one image than for several")
        return found


INDICES = "max and min: no exact rule is known for indices, which depend on the image"


class NoIndices:
    """Stands for indices that depend on the image: they may be returned, and not used."""

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedOperationError(INDICES)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse every operation."""
        raise UnsupportedOperationError(INDICES)


class WithIndices(NamedTuple):
    """What max and min over an axis return."""

    values: Tensor
    indices: NoIndices


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
        operands = [value for value in flat([*args, *kwargs.values()]) if on_path(value)]
        if not operands or name in QUESTIONS or name in CONSTANTS:
            return func(*args, **kwargs)
        result = self._apply(SPELLINGS.get(name, name), func, operands, args, kwargs)
        if not self.trace.moves:
            self._check_batch(SPELLINGS.get(name, name), operands[0], args, kwargs, result)
        if in_place(name, kwargs):
            changed = args[0] if args else kwargs["input"]
            if result is not changed:  # dropout in eval changes nothing
                self.replaced[id(changed)] = (changed, result)
                self.overwritten.add(_memory(changed))
        return result

    def _check_batch(self, name: str, operand: Tensor, args: Any, kwargs: Any, result: Any) -> None:
        """Note at the end of the paths whether the axis of the images moves; afterwards, see that it did not."""
        outputs = [value for value in flat([result]) if isinstance(value, Tensor)]
        kept = all(value.dim() > 0 and value.shape[0] == operand.shape[0] for value in outputs)
        if self.following is None:
            self.trace.moves = not kept or moves_images(name, operand, args, kwargs)
        elif not kept:
            raise UnsupportedOperationError(f"{name} mixes the images of a batch: no exact rule is known")

    def _apply(self, name: str, func: Any, operands: list[Tensor], args: Any, kwargs: Any) -> Any:
        if name in ELEMENTWISE and len(operands) == 1:
            return self._elementwise(name, operands[0], args, kwargs)
        if name in ("max_pool2d", "adaptive_max_pool2d"):
            return self._max_pool(name, *args, **kwargs)
        if name in ("mul", "div", "rdiv"):
            return self._mul_or_div(name, args, kwargs)
        if name in ("pow", "__pow__", "square", "float_power"):
            return self._power(operands[0], 2 if name == "square" else _option(args, kwargs, 1, "exponent", None))
        if name in BILINEAR and len(operands) > 1:
            return self._bilinear(name, operands, args, kwargs)
        if name in ("softmax", "log_softmax", "logsumexp"):
            return self._softmax(name, *args, **kwargs)
        if name in ("max", "min", "amax", "amin"):
            return self._extreme(name, *args, **kwargs)
        if name in COMPOSITES:
            with self:
                return COMPOSITES[name](*args, **kwargs)
        if name == "standardised":
            centred, eps = args[1:]
            plain_norm = partial(standardised, centred=centred, eps=eps)
            return self._rule(name, Standardise, plain_norm, (args[0],), centred, eps)
        if name in ("dropout", "feature_dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d"):
            if not _option(args, kwargs, 2, "training", True):
                return operands[0]
            raise UnsupportedOperationError(f"{name} while training is random: call model.eval() first")
        if name == "batch_norm":
            if not _option(args, kwargs, 5, "training", False):
                return func(*args, **kwargs)
            raise UnsupportedOperationError("batch_norm while training mixes the images of a batch: use model.eval()")
        if name == "__setitem__":
            return self._with_item(*args)
        self._check_linear(name, operands, args, kwargs)
        if name == "linear" and func is F.linear:
            return apply_linear(*args, **kwargs)
        # the ordinary operation for an in-place one
        plain: Any = {"add": torch.add, "sub": torch.sub, "masked_fill": torch.masked_fill}.get(name)
        return plain(*args, **kwargs) if plain and func is not torch.rsub else func(*args, **kwargs)

    def _check_linear(self, name: str, operands: list[Tensor], args: Any, kwargs: Any) -> None:
        """Raise where an operation is not known to be linear in what depends on the path."""
        if name == "interpolate" and kwargs.get("mode", "nearest") not in ("nearest", "bilinear", "bicubic", "area"):
            raise UnsupportedOperationError(f"interpolate with mode {kwargs['mode']}: no exact rule is known")
        if name in ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear") and len(operands) > 1:
            raise UnsupportedOperationError(f"{name} with weights that depend on the image: no exact rule is known")
        if name in ("masked_fill", "index_select", "__getitem__") and any(value is not args[0] for value in operands):
            raise UnsupportedOperationError(f"{name} at places that depend on the image: no exact rule is known")
        if name == "where":
            if on_path(args[0]):
                raise UnsupportedOperationError(
                    "where with a condition that depends on the image: no exact rule is known"
                )
            return
        if name not in LINEAR and name not in BILINEAR:
            raise UnsupportedOperationError(
                f"no exact rule is known for the operation {name!r}; rewrite the layer with supported ones "
                f"({', '.join(sorted(ELEMENTWISE))}, max_pool2d, mul, matmul, softmax, norms, and linear operations)"
            )

    def _rule(
        self, name: str, rule: Any, plain: Callable[..., Tensor], inputs: tuple[Tensor, ...], *options: Any
    ) -> Tensor:
        """Record the inputs and return the plain result; or apply the rule with what was recorded for the end."""
        with torch._C.DisableTorchFunction():
            if self.following is None:
                self.trace.values.append(tuple(value.detach() for value in inputs))
                return plain(*inputs)
            end = self.trace.at(self.position, inputs, name)
            self.position += 1
            first = self.first.values if self.first is not None else None
            return apply_rule(rule, rule in ALONE, inputs, end, first, (*options, self.following))

    def _with_item(self, tensor: Tensor, places: Any, value: Tensor | float) -> Tensor:
        """Return a tensor with other values at some places, as tensor[places] = value leaves it."""
        if any(on_path(place) for place in flat([places])):
            raise UnsupportedOperationError("values set at places that depend on the image: no exact rule is known")
        # a constant gets the rows of what is put into it
        result = tensor.clone() if on_path(tensor) else tensor + torch.zeros_like(value).sum()  # type: ignore[arg-type]
        result[places] = value
        return result

    def _elementwise(self, name: str, operand: Tensor, args: Any, kwargs: Any) -> Tensor:
        function, kind = ELEMENTWISE[name]
        options = {key: value for key, value in kwargs.items() if key not in ("inplace", "input")}
        rest = args[1:] if args else ()
        if name in ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish"):
            rest = tuple(value for value in rest if not isinstance(value, bool))

        def applied(tensor: Tensor) -> Tensor:
            return function(tensor, *rest, **options)

        if kind == "clamp" and not any(isinstance(bound, Tensor) for bound in (*rest, *options.values())):
            return self._rule(name, Clamp, applied, (operand,), applied)
        return self._rule(name, Elementwise, applied, (operand,), applied, kind == "smooth")

    def _power(self, tensor: Tensor, exponent: Any) -> Tensor:
        if not isinstance(exponent, (int, float)):
            raise UnsupportedOperationError("pow with an exponent that is no number: no exact rule is known")
        if exponent == 2:
            return self._product(tensor, tensor)
        if exponent in (0, 1):
            return torch.ones_like(tensor) if exponent == 0 else tensor

        def applied(value: Tensor) -> Tensor:
            return value.pow(exponent)

        return self._rule("pow", Elementwise, applied, (tensor,), applied, True)

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

    def _extreme(self, name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Max and min of two tensors, or over axes; a min is the max of the negatives."""
        sign = 1 if name in ("max", "amax") else -1
        other = args[0] if args else kwargs.get("other", kwargs.get("dim"))
        if isinstance(other, Tensor):
            with self:
                return COMPOSITES["maximum" if sign > 0 else "minimum"](tensor, other)
        if name in ("max", "min") and other is not None:
            options = {key: value for key, value in kwargs.items() if key != "dim"}
            return WithIndices(self._extreme(f"a{name}", tensor, *(args or (other,)), **options), NoIndices())
        axes = [other] if isinstance(other, int) else list(other or range(tensor.dim()))
        places = sorted(axis % tensor.dim() for axis in axes)
        with self:
            moved = (tensor * sign).movedim(places, list(range(-len(places), 0))).flatten(-len(places))
        found = self._rule(name, Extremes, lambda value: value.amax(-1, keepdim=True), (moved,))
        with self:
            found = found.squeeze(-1) * sign
            for axis in places if args[1:] == (True,) or kwargs.get("keepdim") else ():
                found = found.unsqueeze(axis)
            return found

    def _softmax(self, name: str, tensor: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        dim = kwargs.get("dim", dim)
        dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
        if not isinstance(dim, int):
            raise UnsupportedOperationError(f"{name} over {dim!r}: no exact rule is known; name one axis")
        dim -= tensor.dim() if dim >= 0 else 0
        if name == "softmax":
            return self._rule(name, Softmax, lambda value: value.softmax(dim), (tensor,), dim)
        if name == "log_softmax":
            return self._rule(name, LogSoftmax, lambda value: value.log_softmax(dim), (tensor,), dim)
        found = self._rule(name, LogSumExp, lambda value: value.logsumexp(dim, keepdim=True), (tensor,), dim)
        keep = args[0] if args else kwargs.get("keepdim", False)
        with self:
            return found if keep else found.squeeze(dim)

    def _bilinear(self, name: str, operands: list[Tensor], args: Any, kwargs: Any) -> Tensor:
        function = torch.matmul
        if name == "rmatmul":
            operands = [args[1], args[0]]
        if name == "einsum":
            if len(operands) != 2 or len(flat(args[1:])) != 2:
                raise UnsupportedOperationError(
                    "einsum of more than two tensors: no exact rule is known; use two at a time"
                )
            function = partial(torch.einsum, args[0])
            operands = flat(args[1:])
        alike = function is torch.matmul and operands[0].dim() == operands[1].dim() > 1
        rows = torch.vmap(function) if self.trace.moves and not alike else function
        return self._rule(name, Bilinear, function, tuple(operands), rows)

    def _mul_or_div(self, name: str, args: Any, kwargs: Any) -> Tensor:
        left, right = args[0], args[1] if len(args) > 1 else kwargs["other"]
        if name == "rdiv":
            name, left, right = "div", right, left
        if name == "div":
            if kwargs.get("rounding_mode"):
                raise UnsupportedOperationError("div with rounding: no exact rule is known")
            if not on_path(right):
                return torch.div(left, right)
            if on_path(left):
                return self._rule(name, Quotient, torch.div, _aligned(left, right))
            right = self._rule(name, Elementwise, torch.reciprocal, (right,), torch.reciprocal, True)
        if on_path(left) and on_path(right):
            return self._product(left, right)
        return left * right

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        return self._rule("mul", Product, torch.mul, _aligned(left, right))


def _aligned(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with as many axes: rows come before the first axis of both."""
    axes = max(left.dim(), right.dim())
    return left[(None,) * (axes - left.dim())], right[(None,) * (axes - right.dim())]


def _option(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _memory(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return unwrapped(tensor).untyped_storage().data_ptr()


def in_place(name: str, kwargs: Any) -> bool:
    """Return whether torch's function of that name puts its result in its operand's place."""
    named = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or name == "__setitem__"
    return bool(named or kwargs.get("inplace"))


def flat(values: Any) -> list[Any]:
    """Return what lists and tuples hold, however deep, in order."""
    found: list[Any] = []
    for value in values:
        found += flat(value) if isinstance(value, (list, tuple)) else [value]
    return found
