"""Averaged weights: Lightning's callbacks validate, keep and hand over the average in the place of the weights."""

import math
from typing import Any

from layershap.torchvision_guard import torchvision  # noqa: F401  (Lightning imports torchvision)
from layershap.workspace.params import Train

import pytorch_lightning as lightning  # isort: skip
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, WeightAveraging  # isort: skip


class MeanFromEpoch(WeightAveraging):
    """The mean of the weights after every step from an epoch on; until then, the weights as they are.

    Lightning's own would validate and keep the untrained weights until then. `first`: the epoch, from 0.
    """

    def __init__(self, first: int):
        super().__init__()
        self.first = first

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the weights of this step into the mean, or instead of it."""
        if (trainer.current_epoch, batch_idx) <= (self.first, 0) and self._average_model is not None:
            self._average_model.n_averaged.zero_()  # of none: the next is taken as it is
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def averaging_of(settings: Train) -> list[Callback]:
    """Return the callback for settings.average; none where it is `none`.

    The average has the running statistics of norms as well. Its state is in each checkpoint.
    """
    if settings.average == "ema":
        return [EMAWeightAveraging(decay=settings.ema_decay)]
    if settings.average == "swa":
        return [MeanFromEpoch(math.floor(settings.swa_start * settings.epochs))]
    return []
