"""Stage train: what lies above the freeze boundary; opens the MLflow run."""

from pathlib import Path

import numpy as np
import pandas as pd

from layershap.chain import Chain
from layershap.data.features import FeatureCache, LiveImages
from layershap.data.references import save_references
from layershap.data.tables import Dataset, write_table
from layershap.hardware.prepare import prepare, resolved
from layershap.model.classifier import Description, boundary, build_classifier, layer_table, save_classifier
from layershap.model.networks import image_size
from layershap.progress import interactive
from layershap.tracking import lineage
from layershap.tracking.run import Run
from layershap.tracking.runs import MODEL_TAG, open_run
from layershap.training.datamodule import FeatureDataModule, Labels
from layershap.training.fit import Report, Trained, train_tail
from layershap.workspace import paths
from layershap.workspace.files import file_digest, remove, write_json
from layershap.workspace.fingerprint import code_files, fingerprint
from layershap.workspace.params import Params, load_params

ROOMS = ("chain", "data", "model", "training", "stages/train.py")  # whose code an interrupted training belongs to


def run(watch: Report = lambda epoch, metrics: None) -> None:
    """Write the model, its numbers and its learning curve; `watch`: told of each epoch, after MLflow."""
    params = load_params()
    processes = prepare(params)
    dataset = Dataset.read()
    description = Description(
        params.model.backbone,
        image_size(params.model.backbone, params.model.image_size),
        dataset.classes,
        params.head.pool,
        params.head.hidden,
        params.head.dropout,
        params.model.layers,
        params.evaluate.views,
    )
    model = build_classifier(description, params.model.weights)
    source = _source(params, dataset, description.image_size)
    train, val = (_labels(dataset, part, params.train.soft_labels) for part in ("train", "val"))
    mix_alpha = params.augment.mix_alpha if params.augment.mix == "mixup" else None
    data = FeatureDataModule(
        source, train, val, params.train.batch_size, params.train.seed, mix_alpha, params.loader.workers
    )
    used = params.model_dump(include={"model", "augment", "extract", "head", "train", "trainer", "runtime"})
    inputs = [
        paths.IMAGES_TABLE,
        paths.SPLIT_TABLE,
        paths.FEATURES / "index.json",
        *code_files(Path(params.model.code)),
    ]
    work = paths.CHECKPOINTS / fingerprint(used, inputs, ROOMS)

    def fit(report: Report) -> Trained:
        start, options = boundary(model, params.model.unfreeze), resolved(params.trainer)
        return train_tail(model, start, data, params.train, work, report, interactive(), processes, options)

    if not processes.first:  # the first one talks and writes
        fit(lambda epoch, metrics: None)
        return
    print_layers(layer_table(model, description.image_size))
    run = open_run(lineage.run_name(params), work / "run_id")
    try:
        log_beginning(run, params)
        with run.system_metrics():

            def tell(epoch: int, metrics: dict[str, float]) -> None:
                run.log_metrics(metrics, step=epoch)
                watch(epoch, metrics)

            trained = fit(tell)
        write_outs(model, description, trained, dataset, params)
        run.set_tags({MODEL_TAG: file_digest(paths.MODEL_WEIGHTS)})
    except BaseException as error:
        run.finish("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        raise
    run.finish()
    remove(work)


def write_outs(model: Chain, description: Description, trained: Trained, dataset: Dataset, params: Params) -> None:
    """Write the curve, the numbers of the kept epoch, and last the model."""
    kept = trained.curve[trained.best_epoch]
    numbers: dict[str, float] = {"best_epoch": trained.best_epoch + 1, "epochs": len(trained.curve)}
    numbers |= {key: round(value, 6) for key, value in kept.items() if key != "epoch"}
    write_table(paths.LEARNING_CURVE, pd.DataFrame(trained.curve))
    write_json(paths.TRAIN_METRICS, numbers)
    save_classifier(model, description, paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    rows = dataset.rows("train")
    files, targets = [dataset.paths[row] for row in rows], dataset.targets[rows].tolist()
    save_references(files, targets, description.image_size, params.train.seed, paths.MODEL_REFERENCES)


def log_beginning(run: Run, params: Params) -> None:
    """Send what is known before the first epoch: the settings, and what the code is beyond its commit."""
    run.log_params(params.model_dump())
    if params.tracking.patch and (patch := lineage.git_diff()):
        run.log_text(patch, "source/uncommitted.patch")


def _source(params: Params, dataset: Dataset, size: int) -> FeatureCache | LiveImages:
    """Return what is trained on: cached features, or images where all layers are trained."""
    if params.model.unfreeze != "all":
        return FeatureCache(paths.FEATURES)
    return LiveImages(dataset.paths, size, params.augment.policy, params.augment.vertical, params.train.seed)


def _labels(dataset: Dataset, split: str, soft: bool) -> Labels:
    rows = dataset.rows(split)
    return Labels(rows, dataset.targets[rows].astype(np.int64), dataset.soft_targets(soft)[rows])


def print_layers(rows: list[dict[str, object]]) -> None:
    """Print the numbered layers."""
    for row in rows:
        shape = " x ".join(str(length) for length in row["shape"])  # type: ignore[attr-defined]
        print(f"{row['number']:>3}  {row['name']!s:<16} {row['type']!s:<8} {shape}")
