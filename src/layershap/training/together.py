"""One batch divided among processes, so that together they compute what one alone would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, Sampler

Rows = tuple[int, list[Any]]


@dataclass
class Share:
    """This process's rows of a batch: every count-th from the rank on. size: rows of the whole batch."""

    rank: int = 0
    count: int = 1
    size: int = 0

    @property
    def own(self) -> int:
        """Return how many rows of the batch are this process's; none where the last batch is small."""
        return len(range(self.rank, self.size, self.count))

    def of(self, rows: Any) -> Any:
        """Return this process's rows of a batch; the first one where none is its own, for every process must step."""
        found = rows[self.rank :: self.count]
        return found if len(found) else rows[:1]

    def mean(self, losses: Tensor) -> Tensor:
        """Return what this process adds to the mean over the batch, for gradients that are averaged over processes."""
        if self.count == 1:
            return losses.mean()
        return losses[: self.own].sum() * (self.count / self.size)


class SharedBatches(Sampler[Rows]):
    """Batches of `sampler`'s items, of each the size and this process's share; `sampler` keeps its set_epoch."""

    def __init__(self, sampler: Sampler[Any], batch_size: int, rank: int, count: int):
        self.sampler = sampler
        self.batches = BatchSampler(sampler, batch_size, drop_last=False)
        self.share = Share(rank, count)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Rows]:
        for batch in self.batches:
            yield len(batch), self.share.of(batch)


class SharedDropout(nn.Module):
    """Dropout that draws for the whole batch and uses its share: the processes drop what one alone would drop."""

    def __init__(self, p: float, share: Share):
        super().__init__()
        self.p = p
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Return values [own, ...] with some of them 0 and the others 1 / (1 - p) times as large."""
        if not self.training:
            return values
        whole = functional.dropout(values.new_ones((self.share.size, *values.shape[1:])), self.p)
        return values * self.share.of(whole)


@contextmanager
def shared_dropout(module: nn.Module, share: Share) -> Iterator[None]:
    """Let every dropout of `module` draw for whole batches inside; one process needs nothing."""
    places = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout and share.count > 1
    ]
    for parent, name, child in places:
        setattr(parent, name, SharedDropout(child.p, share).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child.train(getattr(parent, name).training))


def several() -> tuple[int, int]:
    """Return rank and number of the processes that torch.distributed has joined; 0 and 1 where it has not."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
