"""The norm and activation between a network's last layer and its pooling, which its own head begins with."""

import torch
from torch import Tensor, nn

from layershap.chain.cutting import Cutter
from layershap.chain.pieces import module_of
from layershap.chain.tracing import Shape, trace


def neck_of(head: nn.Module, features: Tensor) -> nn.Module | None:
    """Return what `head` does to each place of `features` [N, ...] before it pools, chooses or mixes them, or None.

    A vision transformer's last norm is such; without it the features are not those that its weights were trained for.
    """
    if isinstance(head, nn.Identity):
        return None
    with torch.no_grad():
        graph = trace(head, features[:1])
    cutter = Cutter(graph, 1, 1)
    last = 0
    for at in range(1, len(graph.nodes)):
        value = graph.values[graph.nodes[at]][0]
        if cutter.mixing[at] or not isinstance(value, Shape) or value.sizes[1:] != tuple(features.shape[1:]):
            break
        before = [node for node in graph.nodes[at].all_input_nodes if node in graph.calls]
        if before != [graph.nodes[at - 1]]:
            break
        last = at
    found = module_of(graph, 1, last)
    return (
        None if all(isinstance(part, (nn.Identity, nn.Dropout, nn.Sequential)) for part in found.modules()) else found
    )
