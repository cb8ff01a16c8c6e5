"""Stage other_faces: what in an image's heatmaps comes from the references (experiments a to i)."""

import numpy as np
import torch

from layershap.data.features import batches, load_batch
from layershap.data.tables import Dataset, write_table
from layershap.explain import mean_reference
from layershap.hardware.prepare import prepare
from layershap.model.classifier import build_classifier, load_classifier, numbered
from layershap.study import other_faces_figures as pictures
from layershap.study.expectations import EXPERIMENTS, Results
from layershap.study.images import draw, draw_of_each_class, each_image
from layershap.study.other_faces import (
    CANDIDATES,
    REFERENCES,
    Materials,
    Outlines,
    Row,
    example,
    sets_of_references,
    single_references,
)
from layershap.study.other_faces_results import results_text, summarise
from layershap.workspace import paths
from layershap.workspace.files import remove, replacing, write_text
from layershap.workspace.fingerprint import fingerprint
from layershap.workspace.params import load_params

ROOMS = ("chain", "data", "explain", "model", "study")


def run() -> None:
    """Write the numbers per image, the table per layer, the findings and the figures."""
    params = load_params()
    prepare(params, alone=True)
    settings = params.other_faces
    dataset = Dataset.read()
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    size, train = description.image_size, dataset.rows("train")
    chosen = draw(dataset, "test", settings.images, settings.seed, "other_faces.images")
    candidates = draw_of_each_class(dataset, "train", CANDIDATES, settings.seed)
    references = draw(dataset, "train", min(REFERENCES, len(train) // 2 * 2), settings.seed + 1, "references")
    files = [dataset.paths[row] for row in train]
    torch.manual_seed(settings.seed)
    materials = Materials(
        model,
        build_classifier(description, "random"),
        load_batch([dataset.paths[row] for row in candidates], size),
        dataset.targets[candidates],
        load_batch([dataset.paths[row] for row in references], size),
        dataset.targets[references],
        mean_reference(load_batch(files[rows], size) for rows in batches(len(files), 64, "mean")),
        params.explain.segments,
        params.explain.output,
    )
    outlines = Outlines(materials.candidates)

    def numbers(position: int) -> list[Row]:
        image = load_batch([dataset.paths[chosen[position]]], size)
        label = int(dataset.targets[chosen[position]])
        generator = np.random.default_rng((settings.seed, position))
        rows = list(single_references(image, label, materials, outlines, generator))
        return rows + (list(sets_of_references(image, label, materials, generator)) if position < settings.sets else [])

    used = {
        "study": settings.model_dump(),
        "explain": [params.explain.segments, params.explain.output],
        "threads": params.runtime.threads,
    }
    work = paths.OTHER_FACES_WORK / fingerprint(
        used, [paths.MODEL_WEIGHTS, paths.IMAGES_TABLE, paths.SPLIT_TABLE], ROOMS
    )
    names = [dataset.images["path"][row] for row in chosen]
    rows = each_image(names, work, numbers, ["experiment", "name", "measure", "value"])
    layers = {name: number for number, name in numbered(dict.fromkeys(model.names))}
    table = summarise(rows, layers, len(candidates) // len(dataset.classes))
    results = Results(table)
    with replacing(paths.OTHER_FACES) as partial:
        write_table(partial / "images.csv", rows)
        write_table(partial / "table.csv", table)
        write_text(partial / "results.md", results_text(table))
        pictures.save_all(partial, table)
        shown = load_batch([dataset.paths[chosen[0]]], size)
        pictures.save_example(partial, example(shown, int(dataset.targets[chosen[0]]), materials), layers)

    remove(work)
    for experiment in EXPERIMENTS:
        print(f"{experiment.title}: {results.verdict(experiment)}")
    print(f"the findings are in {paths.OTHER_FACES / 'results.md'}")
