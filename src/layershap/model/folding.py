"""Batch norm in eval mode folded into the convolution before it: the same function, twice as fast on a CPU."""

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from layershap.chain.tracing import Graph, trace


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch norm in eval mode into the convolution before it among the same module's children, in place.

    Right for networks that call their children in this order; for others use fold_where_it_follows.
    """
    convolution: nn.Conv2d | None = None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = child
        elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
            _fold(convolution, child)
            setattr(network, name, _without_norm(child))
            convolution = None
        else:
            convolution = None
            fold_batch_norm(child)


@torch.no_grad()
def fold_where_it_follows(network: nn.Module, example: Tensor) -> None:
    """Fold, in place, every batch norm in eval mode that the network computes from a convolution's result alone.

    As the traced course of `example` [1, 3, H, W] shows it: nothing else uses that result, and both modules, and
    their weights, are used once. Raises CannotBeCutError where the network cannot be traced.
    """
    for first, second in _followers(network, example):
        convolution, norm = network.get_submodule(first), network.get_submodule(second)
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        _fold(convolution, norm)
        parent, _, name = second.rpartition(".")
        setattr(network.get_submodule(parent), name, _without_norm(norm))


def _followers(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Return the names of convolutions and the batch norms that follow them."""
    # of a copy: some networks keep what they computed, and what tracing computes is of no use to a later call
    network = copy.deepcopy(network)
    graph = trace(network, example)
    names = {id(module): name for name, module in network.named_modules()}
    used: dict[int, int] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            used[id(parameter)] = used.get(id(parameter), 0) + 1
    calls = _module_calls(graph)
    found = []
    for node in graph.nodes:
        norm, source = _norm(graph, node)
        if norm is None or source is None or len(source.users) != 1:
            continue
        convolution = graph.calls[source][-1].module if graph.calls[source] else None
        if not isinstance(convolution, nn.Conv2d) or graph.calls[source][-1].result is not source:
            continue
        once = all(used[id(parameter)] == 1 for module in (convolution, norm) for parameter in module.parameters())
        alone = calls.get(id(convolution)) == 1 and calls.get(id(norm)) == 1
        if _is_plain(convolution) and once and alone and not _hooked(convolution) and not _hooked(norm):
            found.append((names[id(convolution)], names[id(norm)]))
    return found


def _module_calls(graph: Graph) -> dict[int, int]:
    """Return how often each module is called, by its id."""
    called = {id(call): call.module for node in graph.nodes for call in graph.calls[node]}
    found: dict[int, int] = {}
    for module in called.values():
        found[id(module)] = found.get(id(module), 0) + 1
    return found


def _norm(graph: Graph, node: fx.Node) -> tuple[nn.BatchNorm2d | None, fx.Node | None]:
    """Return the batch norm that a node computes, and the node that it computes it from."""
    sources = [other for other in node.all_input_nodes if other in graph.calls]
    if len(sources) != 1 or not graph.calls[node]:
        return None, None
    module = graph.calls[node][-1].module
    norms = node.op == "call_module" or getattr(node.target, "__name__", "") == "batch_norm"
    # torch's own, or timm's with drop and act behind the norm
    known = type(module) is nn.BatchNorm2d or (isinstance(module, nn.BatchNorm2d) and hasattr(module, "act"))
    if not norms or not known or not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return None, None
    return module, sources[0]


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Return whether it uses its weights as they are; timm's Conv2dSame pads by itself, others standardise weights."""
    kind = type(convolution)
    return kind is nn.Conv2d or (kind.__name__ == "Conv2dSame" and kind.__module__.startswith("timm."))


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations"))


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what is left of a batch norm: timm's carries its activation."""
    act = getattr(norm, "act", None)
    return act if isinstance(act, nn.Module) else nn.Identity()
