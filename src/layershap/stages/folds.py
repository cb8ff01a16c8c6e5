"""Stage folds: k-fold cross-validation by the project's own stages; every image is tested once."""

import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
from rich.console import Console

from layershap.choosing.folds import as_table, summarise
from layershap.data.split import split_images
from layershap.data.tables import read_table, write_table
from layershap.judging.folds import deciding
from layershap.progress import progress_bar
from layershap.stages import evaluate, split, train
from layershap.workspace import paths
from layershap.workspace.elsewhere import elsewhere, settings_elsewhere
from layershap.workspace.errors import SettingsError
from layershap.workspace.files import file_digest, read_json, remove, replacing, write_json
from layershap.workspace.fingerprint import code_files, fingerprint
from layershap.workspace.params import Params, Split, load_params

ROOMS = ("chain", "data", "hardware", "judging/evaluation.py", "model", "stages/evaluate.py", "stages/folds.py",
         "stages/split.py", "stages/train.py", "training")  # fmt: skip
KEPT = (paths.LEARNING_CURVE, paths.TRAIN_METRICS, paths.EVALUATE_METRICS, paths.PREDICTIONS, paths.SPLIT_TABLE)
LINKED = (paths.RAW, paths.IMAGES_TABLE, paths.FEATURES)


def run() -> None:
    """Train and evaluate once for each fold; write the numbers and the decision on every image."""
    params = load_params()
    count = params.split.folds
    if count is None:
        raise SettingsError("split.folds is null: how many folds? 'make folds FOLDS=5' sets it")
    images = read_table(paths.IMAGES_TABLE)
    check(images, params, count)
    inputs = [paths.IMAGES_TABLE, paths.FEATURES / "index.json", *code_files(Path(params.model.code))]
    work = paths.FOLDS_WORK / fingerprint(deciding(params), inputs, ROOMS)
    done = [fold for fold in range(count) if (work / f"fold_{fold}").exists()]
    if done:
        print(f"{len(done)} of {count} folds are done already")
    with progress_bar(total=count, initial=len(done), desc="folds", unit="fold") as progress:
        for fold in sorted(set(range(count)) - set(done)):
            run_fold(fold, params, work)
            numbers = read_json(work / f"fold_{fold}" / paths.EVALUATE_METRICS.name)
            progress.write(f"fold {fold}: accuracy {numbers['accuracy']:.4f} on {numbers['n_test']} images")
            progress.update()
    write(work, count, params)
    remove(work)


def check(images: pd.DataFrame, params: Params, count: int) -> None:
    """Divide as every fold will: what is too small for it is named before any training."""
    settings = params.model_dump()["split"]
    for fold in range(count):
        split_images(images, Split(**{**settings, "fold": fold}), Path(params.data.path))


def run_fold(fold: int, params: Params, work: Path) -> None:
    """Split, train and evaluate with the fold as test set, and keep what is said of it in work/fold_<number>.

    A training that was interrupted goes on.
    """
    content = settings_elsewhere(params)
    content["split"]["fold"] = fold
    place = work / f"running_{fold}"
    links = {name: name for name in LINKED if name.exists()}
    with elsewhere(place, content, links), redirect_stdout(StringIO()):  # the table says what they would
        for stage in (split, train, evaluate):
            stage.run()
    with replacing(work / f"fold_{fold}") as partial:
        partial.mkdir()
        for name in KEPT:
            shutil.copy2(place / name, partial)
    remove(place)


def write(work: Path, count: int, params: Params) -> None:
    """Write the outs from what every fold left, and print the table."""
    evaluated, tables, rows = [], [], []
    for fold in range(count):
        folder = work / f"fold_{fold}"
        numbers, trained = (read_json(folder / name.name) for name in (paths.EVALUATE_METRICS, paths.TRAIN_METRICS))
        evaluated.append(numbers)
        tables.append(read_table(folder / paths.PREDICTIONS.name).assign(fold=fold))
        names = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy")
        shown = {name: numbers[name] for name in names}
        rows.append({"fold": fold, "images": numbers["n_test"], **shown, "best_epoch": trained["best_epoch"]})
    predictions, table = pd.concat(tables, ignore_index=True), pd.DataFrame(rows)
    summary = summarise(evaluated, predictions)
    belongs = {"images_md5": file_digest(paths.IMAGES_TABLE, "md5"), "settings": deciding(params)}
    with replacing(paths.FOLDS) as partial:
        partial.mkdir(parents=True)
        for fold in range(count):
            shutil.copytree(work / f"fold_{fold}", partial / f"fold_{fold}")
        write_table(partial / "predictions.csv", predictions)
        write_table(partial / "table.csv", table)
        write_json(partial / paths.FOLDS_NUMBERS.name, {**summary, **belongs})
    Console(width=100).print(as_table(table, summary))
