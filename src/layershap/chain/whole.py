"""From a whole network to named layers and a head."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from layershap.chain.cutting import Cutter, Piece
from layershap.chain.pieces import CannotCrossError, module_of
from layershap.chain.tracing import CannotBeCutError, Graph, trace

USUAL_SIZE = (3, 224, 224)


def cut(
    model: nn.Module, example: Tensor | None, layers: str | Sequence[str] | None
) -> tuple[list[tuple[str, nn.Module]], nn.Module]:
    """Return named layers and the head of `model`: see Chain.of."""
    with _evaluated(model):
        example = _example(model) if example is None else example
        if example.dim() != 4:
            raise ValueError(f"example must be images [N, 3, height, width], not {list(example.shape)}")
        graph = trace(model, example)
        pieces = _chosen(Cutter(graph, *example.shape[-2:]).pieces(), layers)
        if not pieces:
            raise CannotBeCutError(
                f"{type(model).__name__} has no point through which all passes and that has places (maps, or tokens of "
                "a grid): build the Chain by hand: Chain([(name, module), ...], head)"
            )
        found = _modules(graph, pieces)
        _check(model, found, example)
    return found[:-1], found[-1][1]


def _modules(graph: Graph, pieces: list[Piece]) -> list[tuple[str, nn.Module]]:
    """Return names and modules, the head last; a cut over which a value would have to pass beside the features goes."""
    name, last = "head", graph.numbers[graph.output]
    found: list[tuple[str, nn.Module]] = []
    for piece in reversed(pieces):
        try:
            module = module_of(graph, piece.last + 1, last)
        except CannotCrossError:
            continue
        found.append((name, module))
        name, last = piece.name, piece.last
    return [(name, module_of(graph, 1, last)), *reversed(found)]


def _chosen(pieces: list[Piece], layers: str | Sequence[str] | None) -> list[Piece]:
    """Return the pieces that `layers` names; the others go into those that follow them."""
    if layers is None:
        return pieces
    patterns = [layers] if isinstance(layers, str) else list(layers)
    names = [piece.name for piece in pieces]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, 0.5)
            raise ValueError(f"layers: {pattern!r} fits none of {', '.join(near or names)}")
    return [piece for piece in pieces if any(fnmatchcase(piece.name, pattern) for pattern in patterns)]


def _example(model: nn.Module) -> Tensor:
    configuration: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = configuration.get("input_size", USUAL_SIZE)
    place: Any = next(model.parameters(), torch.zeros((), device="cpu"))
    return torch.zeros(1, *size, dtype=place.dtype, device=place.device)


def _check(model: nn.Module, found: list[tuple[str, nn.Module]], example: Tensor) -> None:
    """Raise where layers and head do not compute what the model does."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *example.shape[1:], generator=generator, device="cpu").to(example)
    with torch.no_grad():
        expected: Any = model(images.clone())
        given: Any = images
        for _, module in found:
            given = module(given)
    tolerance = 1e-4 if images.dtype != torch.float64 else 1e-9
    if not torch.allclose(given, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        raise CannotBeCutError(
            f"cut into layers, {type(model).__name__} gives other logits than as a whole: it may change tensors in "
            "place, or draw random numbers; build the Chain by hand: Chain([(name, module), ...], head)"
        )


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
