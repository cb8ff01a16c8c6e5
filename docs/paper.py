"""Write the measured parts of docs/paper.md and its pictures from the studies of this checkout.

make quality other-faces          # first, after a run of the pipeline (docs/paper.md says with which settings)
python docs/paper.py              # some minutes: VGG19 with random weights is explained for shape, time and memory
"""

import math
import resource
import shutil
import time
from pathlib import Path

import pandas as pd
import torch

from layershap.data.features import load_batch
from layershap.data.tables import Dataset
from layershap.explain import choose_references, explain_layers
from layershap.hardware.prepare import prepare
from layershap.model.classifier import Description, build_classifier, layer_table
from layershap.study.expectations import Results
from layershap.workspace import paths
from layershap.workspace.files import read_json
from layershap.workspace.params import load_params

PAGE = Path("docs/paper.md")
PICTURES = Path("docs/pictures/paper")
NEEDED = "references for a correlation of 0.9"
BLOCKS = ("setting", "quality", "answer", "other faces", "vgg19")
QUALITY = {
    "share with the sign of the sum": "agreeing share",
    "Gini": "gini",
    "correlation with the next layer": "agreement",
    "deletion gain": "deletion gain",
    "insertion gain": "insertion gain",
    "sensitivity-n": "sensitivity-n",
    "likeness, head shuffled": "likeness 0",
    "likeness, all shuffled": "likeness 1",
}
ANSWER = {
    "AUC, map": ("a other", "auc"),
    "AUC, reference part": ("a other", "auc reference"),
    "AUC, own part": ("a other", "auc own"),
    "AUC, mirrored reference": ("g", "auc"),
    "AUC, random weights": ("h", "auc"),
    "AUC, blurred image as reference": ("d blur", "auc"),
    "fading with J, references' outlines": ("c", "slope others"),
    "fading with J, own outlines": ("c", "slope own"),
    "maps of two sets of 16, correlation": ("b", "correlation"),
}


def main() -> None:
    """Fill every block of the page."""
    params = load_params()
    prepare(params)
    PICTURES.mkdir(parents=True, exist_ok=True)
    # curves alone: the images themselves may belong to others (paper_pictures.py draws those that may be shown)
    for picture in (
        paths.OTHER_FACES / "retrieval.png",
        paths.OTHER_FACES / "references.png",
        paths.QUALITY / "quality.png",
    ):
        shutil.copy(picture, PICTURES)
    text = PAGE.read_text()
    if missing := [name for name in BLOCKS if f"<!-- {name} -->\n" not in text]:
        raise SystemExit(f"{PAGE} has no block {', '.join(missing)}")
    blocks = {
        "setting": setting(),
        "quality": quality_table(),
        "answer": answer_table(),
        "other faces": (paths.OTHER_FACES / "results.md").read_text(),
        "vgg19": vgg19(),
    }
    for name, block in blocks.items():
        start, found, rest = text.partition(f"<!-- {name} -->\n")
        text = start + found + block + rest[rest.index("<!-- end -->") :]
    PAGE.write_text(text)


def setting() -> str:
    """Return what was trained, and how well, in a sentence or two."""
    card, test, explained, split = (
        read_json(path)
        for path in (paths.MODEL_CARD, paths.EVALUATE_METRICS, paths.EXPLAIN_METRICS, paths.SPLIT_METRICS)
    )
    interval = f"{test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}"
    sentences = [
        f"{card['backbone']}, {len(Dataset.read().rows('train'))} images to train and {test['n_test']} to test "
        f"({' and '.join(card['classes'])}; {split['pictures_in_two_splits']} exact duplicates across splits).",
        f"Test accuracy **{test['accuracy']:.4f}** (95 % interval {interval}).",
        f"{explained['images']} test images explained at all {explained['layers']} layers on path "
        f"{load_params().explain.path}; the largest gap of a sum is **{explained['largest_gap']:.1e}**.",
    ]
    return "\n".join(sentences) + "\n"


def quality_table() -> str:
    """Return the table of the study of quality."""
    table = pd.read_csv(paths.QUALITY / "table.csv").set_index(["measure", "layer"])
    layers = sorted(table.index.unique("layer"))
    lines = [f"| layer | {' | '.join(QUALITY)} |", "|---|" + "---:|" * len(QUALITY)]
    for layer in layers:
        name = table.loc[("gini", layer), "name"]
        cells = [cell(table, measure, layer) for measure in QUALITY.values()]
        lines.append(f"| {layer} {name} | {' | '.join(cells)} |")
    count = int(table["images"].max())
    return "\n".join([*lines, "", f"Mean over {count} test images [95 % interval by bootstrap over images].", ""])


def answer_table() -> str:
    """Return the measures that answer whose outlines a map shows, and whether they stay, layer by layer."""
    results = Results(pd.read_csv(paths.OTHER_FACES / "table.csv"))
    lines = [f"| layer | {' | '.join(ANSWER)} | {NEEDED} |", "|---|" + "---:|" * (len(ANSWER) + 1)]
    for layer in results.layers:
        values = [results.mean(*source, layer) for source in ANSWER.values()]
        cells = [f"{value:.2f}" if math.isfinite(value) else "–" for value in values]
        cells.append(references_needed(results.mean("b", "correlation", layer)))
        lines.append(f"| {layer} {results.names[layer]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def references_needed(correlation: float, count: int = 16, wanted: float = 0.9) -> str:
    """Return how many references two disjoint sets need for maps that correlate by `wanted` (Spearman, Brown 1910)."""
    return f"{math.ceil(count * wanted / (1 - wanted) * (1 - correlation) / correlation)}"


def cell(table: pd.DataFrame, measure: str, layer: int) -> str:
    """Return a mean with its interval."""
    if (measure, layer) not in table.index:
        return "–"
    row = table.loc[(measure, layer)]
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def vgg19() -> str:
    """Return the paper's table of layers, and time, memory and gap of explaining them all with random weights."""
    params = load_params()
    dataset = Dataset.read()
    description = Description("vgg19", 224, dataset.classes, 0, [64], 0.5)
    torch.manual_seed(0)
    model = build_classifier(description, "random")
    lines = ["| number | name | type | output shape |", "|--:|---|---|---|"]
    for row in layer_table(model, 224):
        shape = " x ".join(str(length) for length in row["shape"])
        lines.append(f"| {row['number']} | {row['name']} | {row['type']} | {shape} |")
    train = dataset.rows("train")
    chosen = train[choose_references(dataset.targets[train].tolist(), 10, 0)]
    references = load_batch([dataset.paths[row] for row in chosen], 224)
    image = load_batch([dataset.paths[dataset.rows("test")[0]]], 224)
    lines += ["", "| one image, 10 references, 4 segments | seconds | largest gap, relative |", "|---|--:|--:|"]
    for path in ("image", "layer"):
        start = time.perf_counter()
        found = explain_layers(model, image, references, path=path)
        seconds = time.perf_counter() - start
        gap = max(float((layer.gap / layer.total).abs()) for layer in found.values())
        lines.append(f"| path {path}, all {len(found)} layers | {seconds:.1f} | {gap:.1e} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines += [
        "",
        f"The process, network and images included, took {peak:.1f} GiB at most, on {params.runtime.threads} threads.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
