"""Who learns how fast, and when: the optimizer's groups of weights, and the learning rates epoch by epoch."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from layershap.workspace.params import Train


def groups_of_weights(head: nn.Module, unfrozen: Sequence[nn.Module], settings: Train) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the head, then each unfrozen layer that has weights, from the last one down.

    `unfrozen`: in the network's order. The last of them has settings.unfrozen_learning_rate, each one below
    settings.layer_decay times that of the one above. A weight that is used in several places is in the first group.
    """
    rates = [settings.learning_rate]
    members = [list(head.parameters())]
    seen = set(members[0])
    for layer in reversed(unfrozen):
        if own := [weight for weight in layer.parameters() if weight not in seen]:
            rates.append(settings.unfrozen_learning_rate * settings.layer_decay ** (len(rates) - 1))
            members.append(own)
            seen |= set(own)
    return [{"params": own, "lr": rate} for own, rate in zip(members, rates, strict=True) if own]


def schedule_of(optimizer: Optimizer, settings: Train) -> LRScheduler:
    """Return what sets the learning rates before each epoch.

    Epoch e of the settings.warmup_epochs w, from 0, has (e + 1) / (w + 1) of them; then they are whole, and either stay
    (schedule constant) or fall to 0 by half a cosine over the epochs that are left.
    """
    rising = settings.warmup_epochs
    main: LRScheduler
    if settings.schedule == "cosine":
        main = CosineAnnealingLR(optimizer, settings.epochs - rising)
    else:
        main = ConstantLR(optimizer, factor=1.0)
    if not rising:
        return main
    rise = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return SequentialLR(optimizer, [rise, main], [rising])
