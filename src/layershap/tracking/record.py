"""What the stages wrote, brought to the run of their model: doing it twice changes nothing."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from layershap.data.tables import Dataset
from layershap.reporting.explained.images import read_images
from layershap.reporting.layer_numbers import layer_means, means_shown
from layershap.tracking import lineage
from layershap.tracking.names import changed_names
from layershap.tracking.run import Run
from layershap.tracking.runs import join_run, open_kept
from layershap.workspace import paths
from layershap.workspace.files import file_digest, read_json
from layershap.workspace.params import Params

ARRAYS_BYTES = 100_000_000  # larger arrays of heatmaps are in DVC's cache alone
HEADLINE = ("accuracy", "accuracy_low", "accuracy_high")


def record_pipeline(params: Params) -> Run:
    """Bring the run of the model in models/ to what the outs say; a model without a run gets one."""
    run = join_run(file_digest(paths.MODEL_WEIGHTS), lineage.run_name(params))
    dataset = Dataset.read()
    run.log_params(params.model_dump())
    record_origin(run, params, dataset)
    record_training(run)
    record_evaluation(run)
    record_explanations(run)
    run.log_artifacts(paths.REPORT)
    run.log_artifacts(paths.CARD)
    run.set_tags({"mlflow.note.content": paths.CARD.read_text(encoding="utf-8")})
    if renamed := changed_names(dataset.classes):
        table = pd.DataFrame({"in MLflow": list(renamed), "class": list(renamed.values())})
        run.log_text(table.to_csv(index=False), "names.csv")
    first = dataset.paths[dataset.rows("train")[0]]
    run.log_model(paths.MODELS, f"layershap-{params.data.source}", first)
    run.log_artifacts(paths.GATE_VERDICT, "gate")
    run.judge_model(read_json(paths.GATE_VERDICT)["verdict"])
    return run


def record_origin(run: Run, params: Params, dataset: Dataset) -> None:
    """Say where the model comes from: code, data, machine, and the images of each split."""
    facts = {"layershap.backbone": params.model.backbone, "layershap.data": params.data.source}
    run.set_tags({**facts, **lineage.dvc_tags(), **lineage.machine_tags(params.runtime.threads)})
    run.log_artifacts(paths.SPLIT_TABLE, "data")
    for part, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        table = dataset.images.iloc[dataset.rows(part)][["path", "label"]]
        run.log_dataset(table, context, f"{params.data.source} {part}", lineage.data_digest())


def record_training(run: Run) -> None:
    """Send the learning curve, also of a model that was trained elsewhere, and the numbers of the kept epoch."""
    run.log_series(curve_of(paths.LEARNING_CURVE))
    run.log_metrics({"train": read_json(paths.TRAIN_METRICS)})
    run.log_artifacts(paths.MODEL_CARD, "model_description")
    run.log_artifacts(paths.REPORT_CURVE, "plots")


def record_evaluation(run: Run) -> None:
    """Send the metrics, the predictions and the pictures of the test images."""
    numbers = read_json(paths.EVALUATE_METRICS)
    headline = {name: numbers.pop(name) for name in HEADLINE}
    run.log_metrics({**headline, "test": numbers})
    run.log_artifacts(paths.EVALUATE_PICTURES, "plots")
    run.log_artifacts(paths.PREDICTIONS, "evaluation")


def record_explanations(run: Run) -> None:
    """Send the numbers of every layer, all pictures, and to the image grid a contact sheet of each class."""
    run.log_metrics({"explain": read_json(paths.EXPLAIN_METRICS)})
    means = layer_means(pd.read_csv(paths.LAYERS_TABLE))
    # with one reference there is no error
    series = {
        f"layer/{name}": {str(row["number"]): row[name] for row in means if math.isfinite(row[name])}
        for name in means_shown(means)
    }
    run.log_series({name: points for name, points in series.items() if points})
    log_pictures(run)
    shown, small = {}, {}
    labels = {row.name: row.label for row in read_images().itertuples()}
    for sheet in sorted(paths.SMALL_SHEETS.glob("*.png")):  # of each class one
        title = f"contact sheet {labels[sheet.stem]}"
        shown[title], small[title] = paths.CONTACT_SHEETS / sheet.name, sheet
    shown["contributions by layer"] = paths.EXPLANATIONS / "layers.png"
    pictures = [*shown.values(), *small.values()]
    digest = hashlib.sha256("".join(file_digest(path) for path in pictures).encode()).hexdigest()[:12]
    run.log_images(shown, digest, small)


def log_pictures(run: Run) -> None:
    """Send what stage explain wrote, without the arrays where these are larger than ARRAYS_BYTES."""
    if sum(file.stat().st_size for file in paths.EXPLAINED_ARRAYS.iterdir()) <= ARRAYS_BYTES:
        run.log_artifacts(paths.EXPLANATIONS, "explanations")
        return
    for place in sorted(paths.EXPLANATIONS.iterdir()):
        if place != paths.EXPLAINED_ARRAYS:
            run.log_artifacts(place, f"explanations/{place.name}" if place.is_dir() else "explanations")


def record_study(folder: Path, group: str, columns: list[str]) -> Run:
    """Send a study's table as curves over the layers, and all its files.

    `columns`: those of its table.csv that name a measure; with `group` before them they name the curve.
    """
    run = join_run(file_digest(paths.MODEL_WEIGHTS))
    table = pd.read_csv(folder / "table.csv")
    series: dict[str, dict[str, float]] = {}
    for row in table.to_dict("records"):
        if math.isfinite(row["mean"]):
            name = "/".join([group, *(str(row[column]) for column in columns)])
            series.setdefault(name, {})[str(int(row["layer"]))] = row["mean"]
    run.log_series(series)
    run.log_artifacts(folder, group)
    return run


def record_folds(folder: Path, params: Params) -> Run:
    """Make or find a run of the folds, with mean and interval, and below it one of each fold, with all its numbers."""
    summary = read_json(folder / paths.FOLDS_NUMBERS.name)
    key = f"folds-{file_digest(folder / paths.FOLDS_NUMBERS.name)[:16]}"
    facts = {"layershap.backbone": params.model.backbone, "layershap.data": params.data.source}
    parent = open_kept("folds", key, facts)
    parent.log_params(params.model_dump())
    shown = dict(zip(HEADLINE, (summary[name] for name in ("mean", "mean_low", "mean_high")), strict=True))
    numbers = {name: value for name, value in summary.items() if isinstance(value, (int, float))}
    parent.log_metrics({**shown, "folds": numbers})
    parent.log_series({"folds/accuracy": {str(fold): value for fold, value in enumerate(summary["accuracy"])}})
    for name in (paths.FOLDS_NUMBERS.name, "table.csv", "predictions.csv"):
        parent.log_artifacts(folder / name, "folds")
    for fold in range(summary["folds"]):
        record_fold(folder / f"fold_{fold}", fold, key, facts, params)
    parent.finish()
    return parent


def record_fold(folder: Path, fold: int, parent: str, facts: dict[str, str], params: Params) -> None:
    """Send the settings, the curve and the numbers of one fold to its run below the run with the key `parent`."""
    run = open_kept(f"fold {fold}", f"{parent}-{fold}", facts, parent)
    content = params.model_dump()
    run.log_params({**content, "split": {**content["split"], "fold": fold}})
    run.log_series(curve_of(folder / paths.LEARNING_CURVE.name))
    numbers = read_json(folder / paths.EVALUATE_METRICS.name)
    headline = {name: numbers.pop(name) for name in HEADLINE}
    run.log_metrics({**headline, "test": numbers, "train": read_json(folder / paths.TRAIN_METRICS.name)})
    run.log_artifacts(folder / paths.PREDICTIONS.name, "evaluation")
    run.log_artifacts(folder / paths.SPLIT_TABLE.name, "data")
    run.finish()


def record_trial(
    key: str,
    space: str,
    params: Params,
    search: Mapping[str, float],
    number: int,
    settings: Mapping[str, Any],
    losses: Mapping[str, float],
    loss: float | None,
    pruned: bool,
) -> None:
    """Bring the run of a search, with this key, to the numbers in `search`, and make one below it of a trial.

    `settings`: all settings of the trial. `losses`: validation loss by epoch. `loss`: the best one.
    """
    facts = {"layershap.backbone": params.model.backbone, "layershap.data": params.data.source}
    parent = open_kept(f"search {space}", key, facts)
    parent.log_params(params.model_dump())
    parent.log_metrics({"search": search})
    parent.finish()
    run = open_kept(f"trial {number}", f"{key}-{number}", {**facts, "layershap.pruned": str(pruned).lower()}, key)
    run.log_params(settings)
    run.log_series({"val_loss": losses})
    if not pruned and loss is not None:
        run.log_metrics({"search": {"val_loss": loss}})
    run.finish()


def curve_of(table: Path) -> dict[str, dict[str, float]]:
    """Return a learning curve as series over the epochs, from 1."""
    curve = pd.read_csv(table)
    steps = [str(int(epoch) + 1) for epoch in curve["epoch"]]
    return {name: dict(zip(steps, curve[name].tolist(), strict=True)) for name in curve if name != "epoch"}


def recorded(*places: Path) -> dict[str, Any]:
    """Return what stands for these outs, folders with all in them: equal where nothing has to be recorded again."""
    digest = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                digest.update(f"{file.as_posix()} {file_digest(file)}\n".encode())
    model = file_digest(paths.MODEL_WEIGHTS) if paths.MODEL_WEIGHTS.exists() else ""
    return {"model": model, "outs": digest.hexdigest()}
