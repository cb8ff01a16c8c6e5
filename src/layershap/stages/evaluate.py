"""Stage evaluate: the whole network on the raw test images."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from layershap.chain import Chain
from layershap.data.features import FeatureCache, in_batches, load_batch, loaded, probabilities_in_views
from layershap.data.tables import Dataset, write_table
from layershap.hardware.prepare import prepare
from layershap.hardware.processes import Processes
from layershap.judging.evaluation import evaluate_predictions, reliability_curve
from layershap.model.classifier import Description, boundary, load_classifier
from layershap.plots import canvas, words
from layershap.reporting import decisions, figures
from layershap.workspace import paths
from layershap.workspace.files import replacing, write_json
from layershap.workspace.params import load_params

CACHE_TOLERANCE = 0.05
PIXEL_DIGEST = 16  # hexadecimal digits by which a picture is known in the table of predictions


def run() -> None:
    """Write metrics, predictions and pictures of the test images."""
    params = load_params()
    processes = prepare(params)
    dataset = Dataset.read()
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    rows = dataset.rows("test")
    targets = dataset.targets[rows]
    model.to(processes.device)
    precision = params.trainer.precision
    size, batch_size = description.image_size, params.evaluate.batch_size
    views = predict(model, dataset, rows, size, batch_size, processes, params.loader.workers, description.views)
    compared = {}
    if params.model.unfreeze != "all":  # of all layers trained, no features are cached
        start = boundary(model, params.model.unfreeze)
        compared["cache_difference"] = cache_difference(model, rows, views[0], start, processes, precision)
    if not processes.first:
        return
    exact = views.mean(0).numpy().astype(np.float64)
    exact /= exact.sum(1, keepdims=True)

    numbers: dict[str, Any] = evaluate_predictions(targets, exact, description.classes)
    numbers |= {"views": description.views, **compared}
    # whatever the order and the names: the same pictures
    pictures = "".join(sorted(dataset.images["pixels"].iloc[rows]))
    numbers["test_digest"] = hashlib.sha256(pictures.encode()).hexdigest()[:16]
    table = prediction_table(dataset, rows, exact, description)
    write_table(paths.PREDICTIONS, table)
    curve = reliability_curve(targets, exact)
    write_table(paths.RELIABILITY, curve)
    with replacing(paths.EVALUATE_PICTURES) as partial:
        predicted = exact.argmax(1)
        canvas.save(decisions.confusion(targets, predicted, description.classes), partial / "confusion.png")
        values = (curve[name].to_numpy() for name in ("confidence", "accuracy", "images"))
        canvas.save(decisions.reliability(*values), partial / "reliability.png")
        canvas.save(worst_mistakes(dataset, table, params.evaluate.mistakes), partial / "mistakes.png")
    write_json(paths.EVALUATE_METRICS, numbers)
    print(
        f"accuracy {numbers['accuracy']:.4f} (95 % {numbers['accuracy_low']:.4f} to {numbers['accuracy_high']:.4f}) "
        f"on {numbers['n_test']} test images"
    )


@torch.inference_mode()
def predict(
    model: Chain,
    dataset: Dataset,
    rows: np.ndarray,
    size: int,
    batch_size: int,
    processes: Processes,
    workers: int = 0,
    views: int = 1,
) -> Tensor:
    """Return the probabilities [views, N, classes] of the images at `rows`, from their files; the batches are divided.

    Of so many views; the first is the image as it is.
    """
    files = [dataset.paths[row] for row in rows]
    own = processes.share(in_batches(0, len(files), batch_size))
    found = {}
    for part, batch in loaded(files, size, own, workers, "evaluate"):
        found[part.start] = probabilities_in_views(model, batch.to(processes.device), views).cpu()
    together = {start: values for share in processes.gathered(found) for start, values in share.items()}
    return torch.cat([together[start] for start in sorted(together)], 1)


@torch.inference_mode()
def cache_difference(
    model: Chain, rows: np.ndarray, probabilities: Tensor, start: int, processes: Processes, precision: str
) -> float:
    """Return the largest difference of `probabilities` [N, classes] to those by way of the cached features.

    Both of the images as they are. Raises where they disagree. Features of mixed precision differ more for single
    images: there the mean over images tells another model's cache.
    """
    cache = FeatureCache(paths.FEATURES)
    found = [np.zeros(0)]
    for places in processes.share(np.array_split(np.arange(len(rows)), max(len(rows) // 64, 1))):
        logits = model.tail(cache.rows(rows[places]).to(processes.device), start)
        found.append((logits.softmax(1).cpu() - probabilities[places]).abs().amax(1).numpy())
    differences = np.concatenate(processes.gathered(np.concatenate(found)))
    difference = float(differences.max())
    judged = difference if precision == "32-true" else float(differences.astype(np.float64).mean())
    if not judged <= CACHE_TOLERANCE:  # nor where it is no number
        raise ArithmeticError(
            f"probabilities by way of {paths.FEATURES} differ by {difference:.3g} from those of the images: "
            f"the cache does not belong to this model; run 'dvc repro --force-downstream extract'"
        )
    return difference


def prediction_table(
    dataset: Dataset, rows: np.ndarray, probabilities: np.ndarray, description: Description
) -> pd.DataFrame:
    """Return a row per test image: path, label, predicted, correct, pixels (a digest), and each class's probability."""
    names = np.array(description.classes)
    table = pd.DataFrame({"path": dataset.images["path"].iloc[rows], "label": names[dataset.targets[rows]]})
    table["predicted"] = names[probabilities.argmax(1)]
    table["correct"] = (table["label"] == table["predicted"]).astype(int)
    table["pixels"] = [digest[:PIXEL_DIGEST] for digest in dataset.images["pixels"].iloc[rows]]
    for number, name in enumerate(description.classes):
        table[f"p_{name}"] = probabilities[:, number].round(6)
    return table.reset_index(drop=True)


def worst_mistakes(dataset: Dataset, table: pd.DataFrame, count: int) -> Figure:
    """Draw the surest wrong decisions."""
    shown = dict(zip(dataset.classes, words.class_names(dataset.classes), strict=True))
    wrong = table[table["correct"] == 0].copy()
    wrong["confidence"] = [row[f"p_{row['predicted']}"] for _, row in wrong.iterrows()]
    worst = wrong.sort_values(["confidence", "path"], ascending=[False, True]).head(count)
    worst = worst.head(decisions.MOST_MISTAKES + 1)  # what cannot be drawn need not be read
    images = [figures.picture(load_batch([paths.RAW / path], 224)[0]) for path in worst["path"]]
    captions = []
    for row in worst.itertuples():
        label, predicted = shown[row.label], shown[row.predicted]
        file = row.path.rpartition("/")[2].replace("\n", " ")
        captions.append(f"{file}\n{label} taken for\n{predicted}, {row.confidence:.0%} sure")
    note = words.note([*worst["path"], *worst["label"], *worst["predicted"]])
    return decisions.mistakes(images, captions, len(wrong), len(table), note)
