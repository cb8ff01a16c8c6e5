"""Pieces of a traced network as modules of their own, which share its weights."""

import operator
from typing import Any

from torch import fx, nn

from layershap.chain.tracing import Graph, Shape, holds_tensor


class CannotCrossError(ValueError):
    """A piece needs a value from before it that is neither fixed nor a multiple of the number of images."""


def module_of(graph: Graph, first: int, last: int) -> nn.Module:
    """Return what the nodes `first` to `last` of Graph.nodes compute from the node before them, as a module.

    Where whole modules do it one after the other, these themselves (one, or nn.Sequential); else a GraphModule of the
    operations. Raises CannotCrossError.
    """
    if first > last:
        return nn.Identity()
    modules = _modules(graph, first, last)
    if modules is None:
        return _Copier(graph, first, last).module()
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _modules(graph: Graph, first: int, last: int) -> list[nn.Module] | None:
    found: list[nn.Module] = []
    source = graph.nodes[first - 1]
    at = first
    while at <= last:
        node = graph.nodes[at]
        for call in graph.calls[node]:
            end = graph.numbers.get(call.result, -1) if call.result is not None else -1
            if call.source is source and at <= end <= last:
                found.append(_content(call.module))
                source, at = graph.nodes[end], end + 1
                break
        else:
            if node.op != "call_module" or node.args != (source,) or node.kwargs:
                return None
            found.append(graph.model.get_submodule(str(node.target)))
            source, at = node, at + 1
    return found


def _content(module: nn.Module) -> nn.Module:
    """Return what a container of one module holds."""
    while type(module) is nn.Sequential and len(module) == 1:
        module = module[0]
    return module


class _Copier:
    """Copies some nodes into a graph of their own."""

    def __init__(self, graph: Graph, first: int, last: int):
        self.graph = graph
        self.nodes = graph.nodes[first : last + 1]
        self.copy = fx.Graph()
        self.input = self.copy.placeholder("features")
        self.known: dict[fx.Node, Any] = {graph.nodes[first - 1]: self.input}
        self.inside = set(self.nodes)

    def module(self) -> nn.Module:
        """Return a module that holds the submodules and parameters that the nodes use."""
        for node in self.nodes:
            self._add(node)
        self.copy.output(self.known[self.nodes[-1]])
        self.copy.lint()
        return fx.GraphModule(self.graph.model, self.copy, class_name="Piece")

    def _add(self, node: fx.Node) -> Any:
        """Copy a node, and before it what it needs."""
        if node not in self.known:
            value = self.graph.values[node]
            if node in self.inside or node.op == "get_attr" or self._can_be_copied(node):
                for other in node.all_input_nodes:
                    self._add(other)
                self.known[node] = self.copy.node_copy(node, lambda other: self.known[other])
            else:
                self.known[node] = self._crossing(node, *value)
        return self.known[node]

    def _can_be_copied(self, node: fx.Node) -> bool:
        """Return whether a value that does not depend on the images' numbers follows from the piece's own."""
        if holds_tensor(self.graph.values[node][0]):
            return node not in self.graph.calls  # a table, a mask: made again
        return all(
            other in self.known or other in self.inside or self._can_be_copied(other) for other in node.all_input_nodes
        )

    def _crossing(self, node: fx.Node, two: Any, three: Any) -> Any:
        """Return a size known before the piece begins as a fixed one, or as a multiple of the number of images."""
        if node.op == "call_function" and node.target is getattr and node.args[1] in ("device", "dtype"):
            return self.copy.call_function(getattr, (self.input, node.args[1]))
        return self._number(node, two, three)

    def _number(self, node: fx.Node, two: Any, three: Any) -> Any:
        if isinstance(two, (tuple, list)) and not any(isinstance(item, Shape) for item in two):
            return tuple(self._number(node, *pair) for pair in zip(two, three, strict=True))
        if two == three and not isinstance(two, Shape):
            return two
        if isinstance(two, int) and two * 3 == three * 2:
            count = self.copy.call_method("size", (self.input, 0))
            return self.copy.call_function(operator.mul, (count, two // 2))
        raise CannotCrossError(f"{node.name} crosses the cut")
