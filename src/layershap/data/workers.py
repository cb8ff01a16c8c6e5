"""One task on many items, in order, by this process or by several beside it. Loads torch for several alone."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from layershap.workspace.errors import InputError, first_line
from layershap.workspace.parent import end_with

Item = TypeVar("Item")
Result = TypeVar("Result")
WAITING = (
    2  # results that are ready or on their way, for each worker: so much memory is taken, whatever the number of items
)


class WorkerError(InputError):
    """A worker is gone without a word, as when the system ends the largest process because memory is short."""


def in_order(task: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield task(item) of each of the items, in their order. With `workers` 0 this process does it as it is asked.

    Otherwise worker processes of torch's DataLoader do it ahead, a few results each; they end with this process,
    however it ends. `task` and the results go from process to process by pickle. What the task raises is raised here,
    as it was. Raises WorkerError where a worker was killed.
    """
    if not workers or not items:
        yield from map(task, items)
        return
    import torch
    from torch.utils.data import DataLoader

    tasks: Any = _Tasks(task, items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's opinion of how many are good
        loader: DataLoader[Any] = DataLoader(
            tasks,
            batch_size=None,
            num_workers=min(workers, len(items)),
            prefetch_factor=WAITING,
            collate_fn=_as_it_is,
            worker_init_fn=partial(begin_worker, os.getpid()),
            generator=torch.Generator(),  # a loader draws from torch's own otherwise
        )
        results = iter(loader)
    try:
        for result, error in results:
            if error is not None:
                raise error
            yield result
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerError(
            f"one of the {workers} processes that read images is gone ({first_line(error)}); where memory is short, "
            f"set loader.workers lower"
        ) from None


class _Tasks(Generic[Item, Result]):
    """The items as DataLoader asks for them; an error is part of a result, for DataLoader would change its words."""

    def __init__(self, task: Callable[[Item], Result], items: Sequence[Item]):
        self.task = task
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> tuple[Result | None, Exception | None]:
        try:
            return self.task(self.items[place]), None
        except Exception as error:
            return None, error


def begin_worker(parent: int, _: int) -> None:
    """Let a worker of torch's DataLoader end with the process `parent`, and with nothing else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent ends its workers
    end_with(parent)


def _as_it_is(result: Any) -> Any:
    return result
