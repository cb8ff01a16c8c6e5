"""What a network computes from images, as a graph: operations in order, and which tensors depend on the images."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn


class CannotBeCutError(ValueError):
    """The network's course cannot be written down as a graph."""


@dataclass(eq=False)
class Call:
    """One call of a module: its qualified name, and the calls that it stands in, outermost first.

    source: the node that is its only argument, or None; result: the node that it returns, or None.
    """

    name: str
    module: nn.Module
    within: tuple["Call", ...] = field(repr=False)
    source: fx.Node | None = None
    result: fx.Node | None = None


@dataclass
class Graph:
    """The operations of `model` that lead from images to logits.

    nodes: those whose value depends on the images' numbers, in order; calls: of each node, the module calls in which it
    stands; values: of every node what it gave for two and three images: tensors' shapes, and other values as they are.
    """

    model: nn.Module
    images: fx.Node
    nodes: list[fx.Node]
    calls: dict[fx.Node, tuple[Call, ...]]
    values: dict[fx.Node, tuple[Any, Any]]
    output: fx.Node

    @cached_property
    def numbers(self) -> dict[fx.Node, int]:
        """The place of every node in `nodes`."""
        return {node: number for number, node in enumerate(self.nodes)}


def trace(model: nn.Module, example: Tensor) -> Graph:
    """Write down what `model` (in eval mode) computes from images like `example` [1, ...].

    A module whose code asks for numbers of its input, so that its operations cannot be written down, stands in the
    graph as a whole. Raises CannotBeCutError where that is the model itself.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model, _defaults(model))
    except _FOLLOWING_FAILED as error:
        raise CannotBeCutError(
            f"{type(model).__name__} as a whole asks for the numbers of its input ({_first_line(error)}); "
            "build the Chain by hand: Chain([(name, module), ...], head)"
        ) from error
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
    images, *others = [node for node in graph.nodes if node.op == "placeholder"]
    if any(node.users for node in others):
        raise CannotBeCutError(f"{type(model).__name__} takes more than images: {', '.join(n.name for n in others)}")
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node):
        raise CannotBeCutError(
            f"{type(model).__name__} gives a {type(output).__name__}, not logits: wrap it in a module that gives these"
        )
    values = _values(model, graph, example)
    nodes = _dependent(graph, images, values)
    if output not in nodes:
        raise CannotBeCutError(f"what {type(model).__name__} gives does not depend on its input")
    return Graph(model, images, nodes, {node: tracer.calls.get(node, ()) for node in nodes}, values, output)


def _whole_functions() -> tuple[Callable[..., Any], ...]:
    """Return timm's functions that ask for numbers of their input, and that it wants to stand in a graph as a whole."""
    layers: Any = sys.modules.get("timm.layers")
    return tuple(layers.get_notrace_functions()) if layers else ()


def _defaults(model: nn.Module) -> dict[str, Any]:
    """Return what the model's code takes beside the images, where it has a default."""
    _, *others = inspect.signature(model.forward).parameters.values()
    return {item.name: item.default for item in others if item.default is not item.empty}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


_FOLLOWING_FAILED = (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, IndexError, AttributeError, NameError)


class _Tracer(fx.Tracer):
    """Follows a network's code with stand-ins for its tensors; a module that does not bear them stays whole."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=_whole_functions())
        self.calls: dict[fx.Node, tuple[Call, ...]] = {}
        self.within: tuple[Call, ...] = ()

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Note for every node the module calls it stands in."""
        node = super().create_node(*args, **kwargs)
        self.calls[node] = self.within
        return node

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Follow a module's code; where that fails, undo it and let the module stand as a whole."""
        outer, place, stack = self.within, self.graph._insert, self.module_stack.copy()
        call = Call(self.path_of_module(m), m, outer)
        if len(args) == 1 and not kwargs and isinstance(args[0], fx.Proxy):
            call.source = args[0].node
        self.within = (*outer, call)
        last = next(iter(reversed(self.graph.nodes)), None)
        try:
            result = super().call_module(m, forward, args, kwargs)
            call.result = result.node if isinstance(result, fx.Proxy) else None
            return result
        except _FOLLOWING_FAILED:
            for node in reversed(list(self.graph.nodes)):
                if node is last:
                    break
                if node.op != "get_attr":  # a parameter's node is used again
                    self.graph.erase_node(node)
            self.graph._insert, self.module_stack = place, stack
            whole = self.create_proxy("call_module", call.name, args, kwargs)
            call.result = whole.node
            return whole
        finally:
            self.within = outer


def _values(model: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, tuple[Any, Any]]:
    found = []
    for count in (2, 3):
        interpreter = _Shapes(model, graph=graph)
        with torch.no_grad():
            interpreter.run(example[:1].expand(count, *example.shape[1:]))
        found.append(interpreter.found)
    return {node: (found[0][node], found[1][node]) for node in found[0]}


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps what every node gives, but of tensors the shape alone."""

    def __init__(self, module: nn.Module, graph: fx.Graph):
        super().__init__(module, graph=graph)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and note its value."""
        value = super().run_node(n)
        self.found[n] = _without_numbers(value)
        return value


@dataclass(frozen=True)
class Shape:
    """A tensor's shape, in the place of the tensor."""

    sizes: tuple[int, ...]


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Shape(tuple(value.shape))
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return tuple(_without_numbers(item) for item in value)
    return value


def holds_tensor(value: Any) -> bool:
    """Return whether a value as Graph.values has it was a tensor, or held one."""
    return isinstance(value, Shape) or (
        isinstance(value, tuple) and not isinstance(value, torch.Size) and any(holds_tensor(item) for item in value)
    )


def _dependent(graph: fx.Graph, images: fx.Node, values: dict[fx.Node, tuple[Any, Any]]) -> list[fx.Node]:
    """Return the nodes that depend on the numbers of `images` and that lead to the output, in order."""
    found = {images: None}
    for node in graph.nodes:
        if node.op != "output" and holds_tensor(values[node][0]) and any(n in found for n in node.all_input_nodes):
            found[node] = None
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or (node in needed):
            needed.update(node.all_input_nodes)
    return [node for node in found if node in needed]
