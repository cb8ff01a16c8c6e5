"""Stage train: what lies above the freeze boundary; opens the MLflow run."""

import numpy as np
import pandas as pd

from layershap import figures, lineage, paths, tracking
from layershap.data.datamodule import FeatureDataModule, Labels
from layershap.data.features import FeatureCache
from layershap.data.tables import Dataset, write_table
from layershap.files import file_digest, remove, write_json
from layershap.fingerprint import fingerprint
from layershap.model.classifier import Description, boundary, build_classifier, layer_table, save_classifier
from layershap.model.training import train_tail
from layershap.params import Params, load_params
from layershap.predictor import save_references
from layershap.progress import interactive
from layershap.runtime import prepare


def run() -> None:
    """Write the model, its numbers and its learning curve."""
    params = load_params()
    prepare(params)
    dataset = Dataset.read()
    description = Description(
        params.model.backbone,
        params.model.image_size,
        dataset.classes,
        params.head.pool,
        params.head.hidden,
        params.head.dropout,
    )
    model = build_classifier(description, params.model.weights)
    cache = FeatureCache(paths.FEATURES)
    train, val = (_labels(dataset, part, params.train.soft_labels) for part in ("train", "val"))
    data = FeatureDataModule(cache, train, val, params.train.batch_size, params.train.seed)
    table = layer_table(model, description.image_size)
    print_layers(table)

    used = params.model_dump(include={"model", "extract", "head", "train", "runtime"})
    work = paths.CHECKPOINTS / fingerprint(used, [paths.IMAGES_TABLE, paths.SPLIT_TABLE, paths.FEATURES / "index.json"])
    name = " ".join(filter(None, [params.data.source, params.model.backbone, lineage.experiment()]))
    run = tracking.open_run(name, work / "run_id")
    run.log_params(params.model_dump())
    log_lineage(run, dataset, params)

    def report(epoch: int, metrics: dict[str, float]) -> None:
        run.log_metrics(metrics, step=epoch)

    with run.system_metrics():
        try:
            start = boundary(model, params.model.unfreeze)
            trained = train_tail(model, start, data, params.train, work, report, interactive())
        except BaseException as error:
            run.finish("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
            raise

        kept = trained.curve[trained.best_epoch]
        numbers: dict[str, float] = {"best_epoch": trained.best_epoch + 1, "epochs": len(trained.curve)}
        numbers |= {key: round(value, 6) for key, value in kept.items() if key != "epoch"}
        write_table(paths.LEARNING_CURVE, pd.DataFrame(trained.curve))
        write_json(paths.TRAIN_METRICS, numbers)
        save_classifier(model, description, paths.MODEL_WEIGHTS, paths.MODEL_CARD)
        rows = dataset.rows("train")
        files, targets = [dataset.paths[row] for row in rows], dataset.targets[rows].tolist()
        save_references(files, targets, description.image_size, params.train.seed, paths.MODEL_REFERENCES)

        run.set_tags({tracking.MODEL_TAG: file_digest(paths.MODEL_WEIGHTS)})
        run.log_metrics({"train": numbers})
        run.log_artifacts(paths.MODEL_CARD, "model_description")
        run.log_artifacts(paths.SPLIT_TABLE, "data")
        run.log_picture(
            figures.encode(figures.learning_curve(trained.curve, trained.best_epoch)), "plots/learning_curve.png"
        )
        run.log_model(paths.MODELS, f"layershap-{params.data.source}", files[0])
    run.finish()
    remove(work)


def log_lineage(run: tracking.Run, dataset: Dataset, params: Params) -> None:
    """Say where the run comes from: code, data, machine, and the images of each split."""
    facts = {"layershap.backbone": params.model.backbone, "layershap.data": params.data.source}
    run.set_tags({**facts, **lineage.dvc_tags(), **lineage.machine_tags(params.runtime.threads)})
    if patch := lineage.git_diff():
        run.log_text(patch, "source/uncommitted.patch")
    for part, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        table = dataset.images.iloc[dataset.rows(part)][["path", "label"]]
        run.log_dataset(table, context, f"{params.data.source} {part}", lineage.data_digest())


def _labels(dataset: Dataset, split: str, soft: bool) -> Labels:
    rows = dataset.rows(split)
    return Labels(rows, dataset.targets[rows].astype(np.int64), dataset.soft_targets(soft)[rows])


def print_layers(rows: list[dict[str, object]]) -> None:
    """Print the numbered layers."""
    for row in rows:
        shape = " x ".join(str(length) for length in row["shape"])  # type: ignore[attr-defined]
        print(f"{row['number']:>3}  {row['name']!s:<16} {row['type']!s:<8} {shape}")
