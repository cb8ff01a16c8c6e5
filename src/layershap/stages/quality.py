"""Stage quality: how sparse, alike, faithful and weight-dependent the explanations of each layer are."""

import torch

from layershap.data.features import load_batch
from layershap.data.tables import Dataset, write_table
from layershap.hardware.prepare import prepare
from layershap.model.classifier import load_classifier, numbered
from layershap.plots import canvas
from layershap.reporting import figures
from layershap.study.images import draw, each_image
from layershap.study.quality import DEPTHS, Row, quality, randomise
from layershap.study.quality_figures import quality_picture
from layershap.study.tables import by_layer
from layershap.workspace import paths
from layershap.workspace.files import remove, replacing
from layershap.workspace.fingerprint import fingerprint
from layershap.workspace.params import load_params

ROOMS = ("chain", "data", "explain", "model", "study")


def run() -> None:
    """Write the numbers per image, the table per layer and its picture."""
    params = load_params()
    prepare(params, alone=True)
    settings = params.quality
    dataset = Dataset.read()
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    size = description.image_size
    chosen = draw(dataset, "test", settings.images, settings.seed, "quality.images")
    used = draw(dataset, "train", settings.references, settings.seed, "quality.references")
    references = load_batch([dataset.paths[row] for row in used], size)
    generator = torch.Generator().manual_seed(settings.seed)
    randomised = {f"{depth:g}": randomise(model, depth, generator) for depth in DEPTHS}

    def numbers(position: int) -> list[Row]:
        image = load_batch([dataset.paths[chosen[position]]], size)
        own = torch.Generator().manual_seed(settings.seed * 1_000_003 + position)
        options = {"path": params.explain.path, "segments": params.explain.segments}
        return list(quality(model, randomised, image, references, own, params.explain.output, **options))

    explain = [params.explain.path, params.explain.segments, params.explain.output]
    inputs = {"study": settings.model_dump(), "explain": explain, "threads": params.runtime.threads}
    work = paths.QUALITY_WORK / fingerprint(inputs, [paths.MODEL_WEIGHTS, paths.IMAGES_TABLE, paths.SPLIT_TABLE], ROOMS)
    rows = each_image([dataset.images["path"][row] for row in chosen], work, numbers, ["name", "measure", "value"])
    layers = {name: number for number, name in numbered(dict.fromkeys(model.names))}
    table = by_layer(rows, ["measure"], layers)
    with replacing(paths.QUALITY) as partial:
        write_table(partial / "images.csv", rows)
        write_table(partial / "table.csv", table)
        units = figures.unit(params.explain.output, description.classes)
        canvas.save(quality_picture(table, units), partial / "quality.png")

    remove(work)
    print(f"{settings.images} images, {len(layers)} layers; the numbers are in {paths.QUALITY / 'table.csv'}")
