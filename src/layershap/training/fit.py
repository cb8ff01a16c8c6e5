"""Training what lies above the freeze boundary, on cached features, with Lightning."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layershap.torchvision_guard import torchvision  # noqa: F401  (torchmetrics imports torchvision)

from torchmetrics import MeanMetric  # isort: skip
from torchmetrics.classification import MulticlassAccuracy  # isort: skip

from layershap.chain import Chain
from layershap.hardware.processes import Processes
from layershap.training.averaging import averaging_of
from layershap.training.datamodule import Batch, FeatureDataModule
from layershap.training.rates import groups_of_weights, schedule_of
from layershap.training.together import Share, shared_dropout
from layershap.workspace.params import Train

import pytorch_lightning as lightning  # isort: skip
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint  # isort: skip

logger = logging.getLogger(__name__)

Report = Callable[[int, dict[str, float]], None]


class TailClassifier(lightning.LightningModule):
    """The layers from `start` on and the head; what lies below is frozen and was run by extract."""

    class_weights: Tensor

    def __init__(self, model: Chain, start: int, settings: Train, class_weights: Tensor, share: Share | None = None):
        super().__init__()
        self.share = share or Share()
        self.unfrozen = nn.ModuleList(model.layers[start:])
        self.head = model.head
        self.settings = settings
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_accuracy = MulticlassAccuracy(len(class_weights), average="micro")
        self.val_accuracy = MulticlassAccuracy(len(class_weights), average="micro")

    @property
    def head_alone(self) -> bool:
        """Return whether the unfrozen layers rest in this epoch."""
        return self.current_epoch < self.settings.head_epochs

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [N, classes] of features at the boundary [N, C, H, W]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.head_alone):
            for layer in self.unfrozen:
                features = layer(features)
        return self.head(features)

    def on_train_epoch_start(self) -> None:
        """Draw dropout from (seed, epoch) alone, so that a resumed run repeats it; set who is trained likewise."""
        torch.manual_seed(self.settings.seed * 1_000_003 + self.current_epoch)
        self.unfrozen.train(not self.head_alone)  # a layer that rests keeps its running statistics, too

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return what this process adds to the mean loss of a batch."""
        losses = self._losses("train", batch, self.train_loss, self.train_accuracy)
        return self.share.mean(losses)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Log loss and accuracy of a batch."""
        self._losses("val", batch, self.val_loss, self.val_accuracy)

    def _losses(self, part: str, batch: Batch, mean: MeanMetric, accuracy: MulticlassAccuracy) -> Tensor:
        """Return the losses [B] of this process's rows, and log their mean and accuracy over all processes."""
        features, numbers, soft, size = batch
        self.share.size = size
        logits = self(features)
        if part == "train" and (smoothing := self.settings.label_smoothing):
            soft = soft * (1 - smoothing) + smoothing / soft.shape[1]
        losses = -(soft * self.class_weights * logits.log_softmax(1)).sum(1)
        own = self.share.own  # of none, the one row that is there does not count
        if own:
            mean.update(losses.detach().mean(), own)
            accuracy.update(logits, numbers)
        # metrics that add up over processes: of a plain number, Lightning rounds the processes' mean count of rows
        values: dict[str, Any] = {f"{part}_loss": mean, f"{part}_accuracy": accuracy}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(losses))
        return losses

    def configure_optimizers(self) -> Any:
        """Return AdamW and the schedule of its learning rates."""
        groups = groups_of_weights(self.head, list(self.unfrozen), self.settings)
        # in mixed precision the fused one sees to the scale of its gradients itself, too late to clip them
        fused = self.settings.gradient_clip is None or self.trainer.precision == "32-true"
        optimizer = torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay, fused=fused)
        return {"optimizer": optimizer, "lr_scheduler": schedule_of(optimizer, self.settings)}


class LearningCurve(Callback):
    """The metrics of every epoch, kept in the checkpoint so that a resumed run has them all."""

    def __init__(self, report: Report) -> None:
        self.rows: list[dict[str, float]] = []
        self.report = report

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Append this epoch's metrics."""
        values = {key: float(value) for key, value in sorted(trainer.callback_metrics.items())}
        self.rows.append({"epoch": trainer.current_epoch, **values})
        if not trainer.is_global_zero:
            return
        shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
        logger.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, shown)
        self.report(trainer.current_epoch + 1, values)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows from a checkpoint."""
        self.rows = list(state_dict["rows"])


class LastingEarlyStopping(EarlyStopping):
    """Early stopping that holds after a kill: a training that had ended by it does not begin another epoch."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop at once where the checkpoint says that the patience is over."""
        trainer.should_stop = self.wait_count >= self.patience


@dataclass(frozen=True)
class Trained:
    """`curve`: a row per epoch. `best_epoch`: counted from 0, the one whose weights were kept."""

    curve: list[dict[str, float]]
    best_epoch: int


def balanced_weights(numbers: Tensor, classes: int) -> Tensor:
    """Return weights [classes] proportional to 1 / frequency whose mean over the images is 1."""
    counts = torch.bincount(numbers, minlength=classes).clamp(min=1).float()
    return len(numbers) / (classes * counts)


def usable_checkpoint(folder: Path) -> Path | None:
    """Return what an interrupted training goes on from: the last epoch, the best one where that cannot be read.

    What cannot be read is set aside. Without the best epoch's weights, which a later one may not better, training
    begins anew.
    """
    last, best = (_readable(folder / f"{name}.ckpt") for name in ("last", "best"))
    if last and not best:
        logger.warning("%s is of no use without the best epoch, and is set aside", last)
        last.replace(last.with_suffix(".unused"))
        return None
    return last or best


def _readable(path: Path) -> Path | None:
    if not path.exists():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is wrong with the file
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        aside = path.replace(path.with_suffix(".broken"))
        logger.warning("%s cannot be read (%s) and is set aside as %s", path, reason, aside.name)
        return None
    return path


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Let Lightning write a checkpoint beside its place: from another disk it would come by copying, and a full disk
    would destroy the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def train_tail(
    model: Chain,
    start: int,
    data: FeatureDataModule,
    settings: Train,
    checkpoints: Path,
    report: Report = lambda epoch, metrics: None,
    interactive: bool = False,
    processes: Processes | None = None,
    trainer_options: Mapping[str, Any] | None = None,
) -> Trained:
    """Train `model` from layer `start` on, in place, and leave it in eval mode with the weights of the best epoch.

    `checkpoints`: folder for this very training (settings, data and code); one that was interrupted goes on from
    its last finished epoch. `report`: called after each epoch with its number, from 1, and its metrics. `processes`:
    those that train together; each batch is divided among them. `trainer_options`: accelerator, devices, num_nodes,
    strategy and precision for Lightning's Trainer (default: one process on the processor).
    """
    lightning.seed_everything(settings.seed, verbose=False)
    classes = data.train.soft.shape[1]
    weights = torch.ones(classes)
    if settings.class_weights:
        weights = balanced_weights(torch.from_numpy(data.train.numbers), classes)
    processes = processes or Processes()
    share = Share(processes.rank, processes.count)
    tail = TailClassifier(model, start, settings, weights, share)
    curve = LearningCurve(report)
    best = ModelCheckpoint(dirpath=checkpoints, filename="best", monitor="val_loss", enable_version_counter=False)
    # of every epoch, better or not: what an interrupted training goes on from
    latest = ModelCheckpoint(dirpath=checkpoints, filename="last", enable_version_counter=False)
    options = {"accelerator": "cpu", **(trainer_options or {})}
    if settings.head_epochs and processes.count > 1:
        options["strategy"] = "ddp_find_unused_parameters_true"  # layers that rest have no gradients to wait for
    trainer = lightning.Trainer(
        **options,
        sync_batchnorm=processes.device.type == "cuda" and processes.count > 1,
        use_distributed_sampler=False,  # the batches are divided already
        max_epochs=settings.epochs,
        gradient_clip_val=settings.gradient_clip,  # the norm of all gradients together
        callbacks=[
            *averaging_of(settings),
            curve,
            best,
            latest,
            LastingEarlyStopping("val_loss", patience=settings.patience),
        ],
        enable_progress_bar=interactive,
        logger=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
        default_root_dir=checkpoints,
    )
    checkpoint = processes.told(usable_checkpoint(checkpoints) if processes.first else None)
    if checkpoint and processes.first:
        logger.warning("going on from %s", checkpoint)
    model.requires_grad_(True)
    tail.train()
    with temporary_files_in(checkpoints), shared_dropout(tail, share):
        trainer.fit(tail, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    tail.cpu()
    tail.load_state_dict(state["state_dict"])
    model.eval()
    return Trained(curve.rows, int(state["epoch"]))
