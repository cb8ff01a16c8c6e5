"""A network followed with every operation noted: in which module, what goes in, what comes out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor, maybe_get_bdim

from layershap.explain.operations import UnsupportedOperationError
from layershap.explain.rows import on_path, unwrapped
from layershap.explain.secant import SecantMode, Trace, flat, in_place

UNSEEN = "an operation that torch does not show"
NO_GRAD = "its result does not tell where it comes from (torch.no_grad, or the inside of an autograd.Function)"
COURSE = "the network takes another course for the image than for the reference"


@dataclass(frozen=True)
class Held:
    """A tensor of one row: `tensor` as autograd knows it, and the axis that torch.vmap gave it, if any."""

    tensor: Tensor
    axis: int | None

    @classmethod
    def of(cls, value: Tensor) -> "Held":
        """Take `value` out of torch.vmap."""
        with torch._C.DisableTorchFunction():
            return cls(unwrapped(value), maybe_get_bdim(value) if is_batchedtensor(value) else None)

    def row(self, like: Tensor | None = None) -> Tensor:
        """Return the tensor, or one laid out like it, without the axis of torch.vmap."""
        value = self.tensor if like is None else like
        return value if self.axis is None else value.squeeze(self.axis)


@dataclass
class Call:
    """One call of an operation; `inputs`: what of them depends on the path; `outputs`: those of real numbers.

    within: the operations that consist of this one, outermost first; last: number of the last call that it consists of;
    refused: why it has no rule.
    """

    operation: str
    module: str
    within: tuple[str, ...]
    inputs: list[Held] = field(default_factory=list)
    outputs: list[Held] = field(default_factory=list)
    last: int = 0
    refused: str = ""

    @property
    def name(self) -> str:
        """What a person reads: softmax in scaled_dot_product_attention."""
        return " in ".join([self.operation, *reversed(self.within)])


class Stopped(Exception):  # noqa: N818 it is no error of the caller's
    """The network cannot be followed further than the last call."""


class Watched(SecantMode):
    """SecantMode that notes every call, and goes on past operations without a rule by autograd's own gradient.

    `expected`: the calls at the end of the path, which those at a row must equal.
    """

    def __init__(self, trace: Trace, following: Tensor | None = None, expected: Sequence[Call] | None = None):
        super().__init__(trace, following)
        self.calls: list[Call] = []
        self.expected = expected
        self.modules = [""]
        self.within: list[str] = []
        self.known: dict[int, Tensor] = {}  # tensors of the path whose origin was seen; kept, so that ids stay theirs

    def current(self, value: Any) -> Any:
        """As in SecantMode; where it refuses, note that and go on with the tensor as it was."""
        try:
            return super().current(value)
        except UnsupportedOperationError as error:
            self._note("an in-place operation", error.args[0])
            return value

    def see(self, values: Any) -> None:
        """Note tensors of the path that no operation known here has made."""
        for value in flat([values]):
            if on_path(value) and id(value) not in self.known:
                self._note(UNSEEN, "a scripted function or an autograd.Function: no exact rule can be put in its place")
                self.known[id(value)] = value

    def _note(self, operation: str, refused: str) -> None:
        self.calls.append(Call(operation, self.modules[-1], (), last=len(self.calls), refused=refused))

    def _apply(self, name: str, func: Any, operands: list[Tensor], args: Any, kwargs: Any) -> Any:
        if not self.within:
            self.see(operands)
        call, number = Call(name, self.modules[-1], tuple(self.within)), len(self.calls)
        self.calls.append(call)
        self._compare(call, number)
        # a tensor of its own for every input: what comes back to it comes through this operation alone
        with torch.enable_grad():
            aliases = {id(value): value.view_as(value) for value in operands}
        originals = {id(alias): value for alias, value in zip(aliases.values(), _distinct(operands), strict=True)}
        args, kwargs = _swapped(args, aliases), {key: _swapped(value, aliases) for key, value in kwargs.items()}
        self.within.append(name)
        try:
            result = super()._apply(name, func, [aliases[id(value)] for value in operands], args, kwargs)
        except UnsupportedOperationError as error:
            call.refused = error.args[0].partition("; rewrite the layer")[0]
            self._compare(call, number)
            result = self._unruled(func, args, kwargs, originals)
        finally:
            self.within.pop()
        call.last = len(self.calls) - 1
        call.inputs = [Held.of(alias) for alias in aliases.values()]
        found = [value for value in flat([result]) if isinstance(value, Tensor) and value.is_floating_point()]
        call.outputs = [Held.of(value) for value in found]
        result = originals.get(id(result), result)  # what an operation hands on as it is stays the network's
        self.known.update((id(value), value) for value in (*found, result) if isinstance(value, Tensor))
        return result

    def _unruled(self, func: Any, args: Any, kwargs: Any, originals: dict[int, Tensor]) -> Any:
        """Return what torch itself gives; the operand of an in-place operation stays as it was."""
        name = getattr(func, "__name__", "")
        if not args or not in_place(name, kwargs):
            return func(*args, **kwargs)
        changed, original = args[0].clone(), originals.get(id(args[0]), args[0])
        result = func(changed, *args[1:], **kwargs)
        if result is None:
            self.replaced[id(original)] = (original, changed)
            self.known[id(changed)] = changed
        return result

    def stop(self, why: str) -> None:
        """Note that it goes no further than the last call."""
        if not self.calls:
            self._note("the first operation", why)
        self.calls[-1].refused = self.calls[-1].refused or f"it cannot be followed further: {why}"

    def _compare(self, call: Call, number: int) -> None:
        if self.expected is None:
            return
        other = self.expected[number] if number < len(self.expected) else None
        same = other and (other.name, other.module) == (call.name, call.module)
        if not same or (other and call.refused and not other.refused):
            call.refused = call.refused or COURSE
            raise Stopped


@contextmanager
def naming(model: nn.Module, mode: Watched) -> Iterator[None]:
    """Tell `mode`, while the model runs inside, in which module it is; the model is as before afterwards."""

    def enter(name: str) -> Any:
        return lambda module, inputs: mode.modules.append(name)

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        mode.see(output)
        mode.modules.pop()

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(enter(name), prepend=True).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        yield


def _distinct(values: list[Tensor]) -> list[Tensor]:
    return list({id(value): value for value in values}.values())


def _swapped(value: Any, aliases: dict[int, Tensor]) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_swapped(item, aliases) for item in value)
    return aliases.get(id(value), value)
