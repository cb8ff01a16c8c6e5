"""Where a network is cut into layers: of the points through which everything passes, those where a layer ends.

A layer is a block (a module with its own code, such as a residual block), or one operation that mixes places or
channels (a convolution, a pool) with what follows and does not: activation, norm, dropout, change of shape.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from layershap.chain.layouts import Layout
from layershap.chain.tracing import Call, Graph, Shape

MIXING = frozenset(
    [
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"),
        *("bilinear", "matmul", "__matmul__", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"),
        *("multi_head_attention_forward", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d"),
        *("avg_pool3d", "lp_pool2d", "adaptive_max_pool2d", "interpolate"),
    ]
)
POOLING_TO_A_SIZE = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
MIXING_MODULES = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.Upsample,
)


@dataclass(frozen=True)
class Piece:
    """A layer: its name, and the numbers of its first and last node in Graph.nodes."""

    name: str
    first: int
    last: int


class Cutter:
    """Finds the layers of a traced network, for images of `height` x `width`."""

    def __init__(self, graph: Graph, height: int, width: int):
        self.graph, self.height, self.width = graph, height, width
        self.mixing = [self._mixes(node) for node in graph.nodes]
        self.spans: dict[Call, list[int]] = {}
        for number, node in enumerate(graph.nodes):
            for call in graph.calls[node]:
                self.spans.setdefault(call, [number, number])[1] = number
        # calls that do no more than one call inside them
        self.doubled = {
            outer for call, span in self.spans.items() for outer in call.within if self.spans[outer] == span
        }

    def pieces(self) -> list[Piece]:
        """Return the feature layers in order; what comes after the last one is the head."""
        passages = self._passages()
        closed = self._closed(self._merged(passages))
        places = [at for at in passages if not any(first <= at < last for first, last in closed)]
        found: list[tuple[int, int]] = []
        first = 1  # 0: the images
        for place in places:
            if any(self.mixing[first : place + 1]):
                if self._grid(place) is not None:
                    found.append((first, place))
                    first = place + 1
            elif found and first == found[-1][1] + 1 and self._belongs(place, *found[-1]):
                found[-1] = (found[-1][0], place)
                first = place + 1
        while found and not self._shows_places(*found[-1]):
            found.pop()
        return _with_unique_names([Piece(self._name(*span), *span) for span in found])

    def _passages(self) -> list[int]:
        """Return the numbers of the nodes through which everything passes that depends on the images."""
        nodes, number = self.graph.nodes, self.graph.numbers
        found, reach = [], 0
        for at, node in enumerate(nodes):
            if at and reach <= at and self._is_batch(node):
                found.append(at)
            reach = max([reach, *(number[user] for user in node.users if user in number)])
        return found

    def _is_batch(self, node: fx.Node) -> bool:
        two, three = self.graph.values[node]
        return isinstance(two, Shape) and two.sizes[:1] == (2,) and three.sizes[:1] == (3,)

    def _mixes(self, node: fx.Node) -> bool:
        if self._pools_to_a_size(node):
            return True
        if node.op == "call_module":
            module = self.graph.model.get_submodule(str(node.target))
            own = type(module).__module__.startswith("torch.nn")
            return not own or any(isinstance(part, MIXING_MODULES) for part in module.modules())
        return _operation(node) in MIXING

    def _merged(self, places: list[int]) -> list[int]:
        """Return the ends of the finest pieces that mix, each with what follows it and does not."""
        ends: list[int] = []
        first = 1
        for place in places:
            if any(self.mixing[first : place + 1]) or not ends:
                ends.append(place)
            else:
                ends[-1] = place
            first = place + 1
        return ends

    def _closed(self, ends: list[int]) -> list[tuple[int, int]]:
        """Return first and last node of every module call that is not cut inside.

        A module is cut inside where all modules of its place (the same name but for numbers) are; a container always;
        and one that is more than half of the network, which wraps it.
        """
        stops = {last for call, (_, last) in self.spans.items()}
        whole = sum(self.mixing)
        votes: dict[str, list[bool]] = {}
        for call, (first, last) in self.spans.items():
            if not _is_container(call.module) and call not in self.doubled:
                inside = any(first <= end < last and end in stops for end in ends)
                wraps = sum(self.mixing[first : last + 1]) > whole / 2
                votes.setdefault(_place(call), []).append(inside or wraps)
        opened = {place for place, answers in votes.items() if all(answers)}
        return [
            (first, last)
            for call, (first, last) in self.spans.items()
            if not _is_container(call.module) and _place(call) not in opened
        ]

    def _belongs(self, place: int, first: int, last: int) -> bool:
        """Return whether what does not mix, up to `place`, belongs to the layer before it."""
        return self._grid(place) == self._grid(last) and not self._ends_block(first, last)

    def _ends_block(self, first: int, last: int) -> bool:
        """Return whether a module with its own code and parts ends with these nodes."""
        return any(
            begin >= first and end == last and not _is_container(call.module) and any(call.module.children())
            for call, (begin, end) in self.spans.items()
        )

    def _name(self, first: int, last: int) -> str:
        """Return the name of the outermost module that stands among the nodes and mixes last; else of the operation."""
        node = self.graph.nodes[max(at for at in range(first, last + 1) if self.mixing[at])]
        for call in self.graph.calls[node]:
            begin, end = self.spans[call]
            if begin >= first and end <= last and not (_is_container(call.module) and call in self.doubled):
                return call.name
        return str(node.target) if node.op == "call_module" else node.name

    def _grid(self, place: int) -> tuple[int, int] | None:
        """Return the grid on which the features of a node lie, or None."""
        sizes = self.graph.values[self.graph.nodes[place]][0].sizes
        try:
            return Layout.of(torch.empty(sizes, device="meta"), self.height, self.width).grid
        except ValueError:
            return None

    def _shows_places(self, first: int, last: int) -> bool:
        nodes = [self.graph.nodes[at] for at in range(first, last + 1) if self.mixing[at]]
        return self._grid(last) != (1, 1) and not all(self._pools_to_a_size(node) for node in nodes)

    def _pools_to_a_size(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            module = self.graph.model.get_submodule(str(node.target))
            return isinstance(module, nn.modules.pooling._AdaptiveAvgPoolNd)
        return _operation(node) in POOLING_TO_A_SIZE


def _operation(node: fx.Node) -> str:
    target: Any = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _is_container(module: nn.Module) -> bool:
    return type(module).forward is nn.Sequential.forward


def _place(call: Call) -> str:
    return re.sub(r"\d+", "#", call.name)


def _with_unique_names(pieces: list[Piece]) -> list[Piece]:
    seen: dict[str, int] = {}
    found = []
    for piece in pieces:
        count = seen[piece.name] = seen.get(piece.name, 0) + 1
        name = piece.name if count == 1 else f"{piece.name}:{count}"  # a module that is called again
        found.append(Piece(name, piece.first, piece.last))
    return found
