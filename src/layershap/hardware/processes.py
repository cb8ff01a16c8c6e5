"""The processes that compute a stage together: who this one is, its share, and what it says to the others."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from layershap.workspace.files import replacing

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among those of one stage. rank: its number, from 0. count: how many. device: where it computes.

    fabric: Lightning's, which joined them; None for one process on the processor in float32.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fabric: Any = None

    @property
    def first(self) -> bool:
        """Return whether this one talks and writes what is one for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every count-th item, from the rank on: together the processes have each item once."""
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            self.fabric.barrier()

    def told(self, value: Item) -> Item:
        """Return the value that the first process has."""
        return value if self.count == 1 else self.fabric.broadcast(value)

    def gathered(self, value: Item) -> list[Item]:
        """Return the values of all processes, by rank; at most a table of one line an image."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the precision in the settings (trainer.precision)."""
        return nullcontext() if self.fabric is None else self.fabric.autocast()

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """Yield one new folder beside `path` for all to write to; it takes `path`'s place when all have succeeded."""
        partial = path.with_name(path.name + ".partial")
        if not self.first:
            self.wait()  # until it is made
            yield partial
            self.wait()
            return
        with replacing(path) as partial:
            partial.mkdir()
            self.wait()
            yield partial
            self.wait()  # until all have written
