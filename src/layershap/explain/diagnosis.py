"""Which operation of which module breaks the sum: conservation of every operation by itself, in float32 and float64."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from layershap.explain.conservation import relative_gap
from layershap.explain.frozen_copy import frozen_copy
from layershap.explain.full_precision import full_precision
from layershap.explain.operations import LINEAR
from layershap.explain.secant import Trace
from layershap.explain.watched import COURSE, NO_GRAD, Call, Stopped, Watched, naming

Verdict = Literal["no rule", "wrong rule", "rounding", "unknown"]
WHOLE = "the whole network"


@dataclass(frozen=True)
class Finding:
    """An operation that breaks the sum, and the module that calls it, by its qualified name ("": the model itself).

    verdict: `no rule`; `wrong rule`, if float64 breaks too; `rounding`, if float64 agrees; `unknown`, if the model
    does not run in one of both. gap_float32, gap_float64: how far both sums differ, relative to the size of what is
    summed (NaN: not known).
    """

    operation: str
    module: str
    verdict: Verdict
    gap_float32: float
    gap_float64: float
    message: str

    def __str__(self) -> str:
        where = f"module {self.module}" if self.module else "the model itself"
        return f"{self.verdict}: {self.operation}, {where}: {self.message}"


@dataclass(frozen=True)
class Diagnosis:
    """What diagnose found; `operations`: how often each was called, also as a part of another.

    gap_float32, gap_float64: the largest relative gap of all operations that have a rule.
    """

    findings: tuple[Finding, ...]
    operations: Mapping[str, int]
    gap_float32: float
    gap_float64: float

    @property
    def exact(self) -> bool:
        """Whether every sum agrees."""
        return not self.findings

    def __str__(self) -> str:
        total = sum(self.operations.values())
        if self.exact:
            gaps = f"{self.gap_float32:.0e} in float32, {self.gap_float64:.0e} in float64"
            return f"every sum agrees: {total} operations, largest relative gap {gaps}"
        first = (
            f"{len(self.findings)} operation{'s break' if self.findings[1:] else ' breaks'} the sum, of {total} called"
        )
        return "\n".join([first, *(f"  {finding}" for finding in self.findings)])


def diagnose(model: nn.Module, image: Tensor, reference: Tensor) -> Diagnosis:
    """Say which operation of which module breaks the sum between one reference and one image, or has no rule.

    `model`: a Chain, or any module from images to logits; it is not changed. image, reference: [3, H, W] or
    [1, 3, H, W]. For every operation on the way, sum over inputs m_in (in_b - in_a) must equal m_out (out_b - out_a), a
    and b its values for the reference and the image, for a random m_out (the same in every call). Operations without a
    rule are all named: past them it goes on by autograd's gradient. Raises ValueError where arguments do not fit.
    """
    image, reference = (value[0] if value.dim() == 4 and len(value) == 1 else value for value in (image, reference))
    if image.dim() != 3 or image.shape != reference.shape or torch.equal(image, reference):
        raise ValueError(
            f"image and reference must be two different images of one shape [3, H, W], not {list(image.shape)} and "
            f"{list(reference.shape)}{', equal in every value' * torch.equal(image, reference)}"
        )
    with full_precision(image.device):
        single, double = (_Pass.of(model, image, reference, dtype) for dtype in (torch.float32, torch.float64))
    if single.failed and double.failed:
        raise single.failed
    largest = [max(side.gaps.values(), default=torch.nan) for side in (single, double)]
    called = double.called if single.failed else single.called
    return Diagnosis(tuple(_findings(single, double)), called, *largest)


def _findings(single: "_Pass", double: "_Pass") -> Iterator[Finding]:
    def gaps(key: tuple[str, str]) -> tuple[float, float]:
        return single.gaps.get(key, torch.nan), double.gaps.get(key, torch.nan)

    for name, side in (("float32", single), ("float64", double)):
        if side.failed:
            yield Finding(WHOLE, "", "unknown", *gaps(("", "")), f"it does not run in {name}: {side.failed}")
    refused, broken = {**double.refused, **single.refused}, {**double.broken, **single.broken}
    for key, message in reversed(refused.items()):  # the first call first
        yield Finding(*key, "no rule", *gaps(key), message)
    for key in reversed(broken):
        message = "its two sums differ by {:.0e} in float32 and {:.0e} in float64, relatively".format(*gaps(key))
        verdict: Verdict = "wrong rule" if key in double.broken else "rounding" if key in double.gaps else "unknown"
        if verdict == "wrong rule" and key[0] in LINEAR:
            message += "; it should be linear"
        yield Finding(*key, verdict, *gaps(key), message)
    if not refused and not broken and not (single.followed and double.followed):
        yield Finding(WHOLE, "", "wrong rule", *gaps(("", "")), "it gives other values when it is followed")


@dataclass
class _Pass:
    """What one precision says: by operation and module, the largest gap, what is broken, what is refused and why."""

    gaps: dict[tuple[str, str], float] = field(default_factory=dict)
    broken: dict[tuple[str, str], None] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    called: Counter[str] = field(default_factory=Counter)
    followed: bool = True
    failed: RuntimeError | None = None

    @classmethod
    def of(cls, model: nn.Module, image: Tensor, reference: Tensor, dtype: torch.dtype) -> "_Pass":
        """Follow the line from the reference to the image through a copy of the model in `dtype`."""
        found, network = cls(), _in_precision(model, dtype)
        image, reference = (value.detach().to(dtype)[None] for value in (image, reference))
        try:
            with torch.no_grad():
                expected = [network(value) for value in (reference, image)]
        except RuntimeError as error:  # numbers of another precision written into the model
            found.failed = error
            return found
        if not all(isinstance(value, Tensor) for value in expected):
            raise ValueError(f"the model must give one tensor of logits, not a {type(expected[0]).__name__}")
        end = Watched(Trace())
        values = [_follow(network, image, end)]
        row = Watched(end.trace, torch.ones(1, dtype=torch.long, device=image.device), end.calls)
        if values[0] is not None:
            values.insert(0, _follow(network, reference, row))
            if values[0] is not None and len(row.calls) < len(end.calls):
                end.calls[len(row.calls)].refused = COURSE
        # rounding adds up on the way, as in checks.check_followed
        near = 1e-3 if dtype == torch.float32 else 1e-8
        found.followed = len(values) == 2 and all(
            value is not None and torch.allclose(value, plain, near, near * float(plain.abs().max()))
            for value, plain in zip(values, expected, strict=True)
        )
        found._judge(end.calls, row.calls)
        return found

    def _judge(self, end: list[Call], row: list[Call]) -> None:
        wrong = [False] * max(len(end), len(row))
        for number, call in reversed(list(enumerate(row if len(row) >= len(end) else end))):
            key = (call.name, call.module)
            self.called[call.operation] += 1
            if call.refused or number >= min(len(row), len(end)) or row[number].refused:
                refused = call.refused or (row[number].refused if number < len(row) else "")
                if refused:
                    self.refused[key], wrong[number] = refused, True
                continue
            if any(wrong[number + 1 : call.last + 1]):
                continue  # a part of it says why
            generator = torch.Generator().manual_seed(number)
            # two draws: by chance, one may hide what rounding does
            gap, tolerance = max(relative_gap(row[number], end[number], generator) for _ in range(2))
            wrong[number] = not gap <= tolerance
            if wrong[number] and not any(held.tensor.requires_grad for held in row[number].outputs):
                self.refused[key] = NO_GRAD
                continue
            self.gaps[key] = max(gap, self.gaps.get(key, 0.0))
            if wrong[number]:
                self.broken[key] = None


def _in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    network = frozen_copy(model).to(dtype)
    for module in network.modules():
        constants = {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}  # no buffers
        vars(module).update({k: v.to(dtype) for k, v in constants.items() if v.is_floating_point()})
    return network


def _follow(network: nn.Module, image: Tensor, mode: Watched) -> Tensor | None:
    """Return the logits of an image [1, 3, H, W], or None where it could not be followed: the last call says why."""

    def through(tensor: Tensor) -> Tensor:
        mode.known[id(tensor)] = tensor
        with mode:
            return mode.current(network(tensor))

    try:
        with torch.enable_grad(), naming(network, mode):
            leaf = image.clone().requires_grad_()
            moves = mode.following is not None and mode.trace.moves
            return (torch.vmap(lambda point: through(point[None]))(leaf)[0] if moves else through(leaf)).detach()
    except (RuntimeError, Stopped) as error:
        mode.stop(str(error.args[0] if error.args else error))
        return None
