"""Loaders of batches, with workers beside the process or without."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from layershap.data.workers import begin_worker


class BatchLoader(DataLoader[Any]):
    """Whole batches of `dataset`, as __getitems__ returns them, in the order of the sampler `batches`.

    `workers`: processes that prepare batches ahead; they end with this one, and raise here what they raised there, as
    it was. 0: this process does it. The same bytes either way.
    """

    def __init__(self, dataset: Dataset[Any], batches: Any, workers: int, seed: int):
        super().__init__(
            _Told(dataset),
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=workers,
            worker_init_fn=partial(begin_worker, os.getpid()) if workers else None,
            generator=torch.Generator().manual_seed(seed),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of an epoch."""
        for batch, error in super().__iter__():
            if error is not None:
                raise error
            yield tuple(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in batch)


class _Told(Dataset[Any]):
    """A data set whose errors are part of what it returns: torch's loader would put a traceback into their words.

    Its tensors are arrays, which go from process to process by pipe: of shared memory, containers have little.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: Any) -> tuple[Any, Exception | None]:
        try:
            batch = self.dataset.__getitems__(rows)
            return tuple(part.numpy() if isinstance(part, torch.Tensor) else part for part in batch), None
        except Exception as error:
            return None, error


def _as_it_is(batch: Any) -> Any:
    return batch
