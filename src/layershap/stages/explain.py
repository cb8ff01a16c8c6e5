"""Stage explain: heatmaps of every layer for chosen test images, with their numbers.

The processes divide the images; each image's work is kept as it comes, and the first process assembles the outs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from layershap.chain import Chain
from layershap.data.features import batches, load_batch
from layershap.data.masks import Masks
from layershap.data.tables import Dataset, read_table
from layershap.explain import blurred_reference, choose_references, explain_layers, mean_reference
from layershap.explain.shap_engine import explain_layers_with_shap
from layershap.hardware.prepare import prepare
from layershap.hardware.processes import Processes
from layershap.judging.inside_numbers import inside_summary
from layershap.model.classifier import Description, load_classifier, numbered
from layershap.progress import progress_bar, warnings_above_the_bar
from layershap.reporting import figures
from layershap.reporting.contact_sheet import Explained
from layershap.reporting.explained.arrays import layer_arrays
from layershap.reporting.explained.assembly import assemble, summary
from layershap.reporting.explained.choice import choose_images
from layershap.reporting.explained.images import images_table
from layershap.reporting.explained.inside import inside_numbers
from layershap.reporting.explained.parts import Parts
from layershap.reporting.explained.pictures import write_pictures
from layershap.reporting.explained.places import speaks_for
from layershap.reporting.layer_numbers import layer_numbers
from layershap.workspace import paths, ranks
from layershap.workspace.errors import InputError
from layershap.workspace.files import remove, write_json
from layershap.workspace.fingerprint import code_files, fingerprint
from layershap.workspace.params import Explain, Params, load_params

# whose code the parts of an interrupted stage belong to
ROOMS = ("chain", "data", "explain", "hardware", "model", "plots", "reporting", "stages/explain.py")


@dataclass(frozen=True)
class References:
    """What images are compared with. rows: of the training images used, in the data set; words: what they are.

    few [J, 3, H, W]: with all segments; None: each image has its own. more [M, 3, H, W]: with one segment; or None.
    """

    rows: np.ndarray
    words: str
    few: torch.Tensor | None = None
    more: torch.Tensor | None = None

    @classmethod
    def of(cls, dataset: Dataset, settings: Explain, size: int, device: torch.device | str = "cpu") -> "References":
        """Choose and load them, and put them on `device`."""
        train = dataset.rows("train")
        if settings.reference == "blur":
            return cls(train[:0], "the image blurred")
        if settings.reference == "mean":
            images = [dataset.paths[row] for row in train]
            mean = mean_reference(load_batch(images[rows], size) for rows in batches(len(images), 64, "mean"))
            return cls(train, "the mean training image", mean.to(device))
        few = settings.references
        wanted = few + (settings.more_references if settings.engine == "secant" else 0)
        count = max(min(wanted, len(train)), few)  # too few for `few` is an error
        chosen = train[choose_references(dataset.targets[train].tolist(), count, settings.seed)]
        loaded = load_batch([dataset.paths[row] for row in chosen], size).to(device)
        return cls(chosen, f"mean of {count} references", loaded[:few], loaded[few:] if count > few else None)

    @property
    def count(self) -> int:
        """Return how many there are for each image."""
        return self._few + (0 if self.more is None else len(self.more))

    def followed(self, segments: int) -> str:
        """Say how they are followed."""
        more = "" if self.more is None else f", {len(self.more)} of one"
        return f"{self._few} references of {segments} segments{more}"

    @property
    def _few(self) -> int:
        return 1 if self.few is None else len(self.few)


def run() -> None:
    """Write pictures, arrays and numbers of the explanations."""
    params = load_params()
    processes = prepare(params)
    dataset = Dataset.read()
    work = Work.begin(params, dataset, processes)
    if processes.first:
        followed = work.references.followed(params.explain.segments)
        print(f"{len(work.images)} images, {len(work.model.names)} layers; {followed}")
    work.explain_share(processes)
    processes.wait()
    if processes.first:
        finish(work, dataset)


def finish(work: "Work", dataset: Dataset) -> None:
    """Write the outs from all parts, and remove these; for one process alone."""
    settings, references = work.settings, work.references
    compared = dataset.images.iloc[references.rows][["path", "label"]]
    unit = figures.unit(settings.output, work.description.classes)
    layers = assemble(work.parts, work.images, compared, unit)
    found = {**summary(work.images, layers), "references": references.count, "engine": settings.engine}
    inside = inside_summary(layers)
    write_json(paths.EXPLAIN_METRICS, {**found, **({"inside": inside} if inside else {})})
    remove(work.parts.folder)
    print(
        f"{found['images']} images, {found['layers']} layers each; "
        f"contact sheets of {found['pictures']} are in {paths.CONTACT_SHEETS}"
    )


@dataclass(frozen=True)
class Work:
    """What every process needs to explain its share.

    `model`, `references`: on `device`. `images`: as images.csv has them. `masks`: of those that have one. `parts`:
    where the work on each is kept.
    """

    device: torch.device
    model: Chain
    description: Description
    references: References
    settings: Explain
    images: pd.DataFrame
    masks: Masks
    parts: Parts

    @classmethod
    def begin(cls, params: Params, dataset: Dataset, processes: Processes) -> "Work":
        """Load the model, onto the process's device, and choose the images."""
        settings, device = params.explain, processes.device
        model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
        references = References.of(dataset, settings, description.image_size, device)
        predictions = read_table(paths.PREDICTIONS)
        chosen = choose_images(predictions, settings.images, settings.mistakes, settings.pictures)
        used = {"explain": settings.model_dump(), "threads": params.runtime.threads, "device": device.type}
        inputs = [paths.MODEL_WEIGHTS, paths.MODEL_CARD, paths.PREDICTIONS, paths.IMAGES_TABLE, paths.SPLIT_TABLE]
        inputs.append(paths.MASKS_TABLE)
        folder = paths.EXPLAIN_WORK / fingerprint(used, [*inputs, *code_files(Path(params.model.code))], ROOMS)
        images, masks = images_table(chosen, predictions), Masks()
        check_masks(masks, images["path"].tolist())
        parts = Parts(folder, len(images))
        return cls(device, model.to(device), description, references, settings, images, masks, parts)

    def explain_share(self, processes: Processes) -> None:
        """Explain those images of this process's share whose part is not there from an earlier start."""
        share = processes.share(range(len(self.images)))
        missing = [index for index in share if not self.parts.there(index)]
        done = len(share) - len(missing)
        if done and processes.first:
            print(f"{done} of {len(share)} images are done already")
        with (
            warnings_above_the_bar("explain"),
            progress_bar(total=len(share), initial=done, desc="explain", unit="image") as progress,
        ):
            for index in missing:
                self.explain_image(index)
                progress.update()

    def explain_image(self, index: int) -> None:
        """Explain one image and write its part."""
        decision = self.images.iloc[index].to_dict()
        image = load_batch([paths.RAW / decision["path"]], self.description.image_size)
        explained = explain_one(self.model, image.to(self.device), self.references, self.settings)
        mask = self.masks.of(decision["path"])

        def draw(folder: Path) -> None:
            compared = self.references.words
            write_pictures(folder, decision, image[0], explained, self.description, self.settings, compared, mask)

        rows = layer_numbers(decision["name"], explained)
        if mask is not None:
            sign = speaks_for(decision["predicted"], self.description.classes)
            rows = [row | more for row, more in zip(rows, inside_numbers(explained, mask, sign), strict=True)]
        self.parts.write(index, rows, layer_arrays(explained), draw if decision["picture"] else None)


def check_masks(masks: Masks, images: list[str]) -> None:
    """Raise InputError where there are masks, and none for the `images` that are explained; else say how many."""
    usable = sum(masks.usable(path) for path in images)
    if masks.areas and not usable:
        raise InputError(
            f"data.masks: {len(masks.areas)} images have a mask, and none of the {len(images)} that are explained has "
            f"one that marks some of it and not all, {images[0]} the first: add theirs, or raise explain.images"
        )
    if masks.areas and ranks.first():
        print(f"{usable} of {len(images)} explained images have a mask")


def explain_one(model: Chain, image: torch.Tensor, references: References, settings: Explain) -> Explained:
    """Explain one image [1, 3, H, W] with the engine of the settings.

    `model`, `image`, `references`: on one device; what comes back is on the processor.
    """
    few = blurred_reference(image) if references.few is None else references.few
    if settings.engine == "shap":
        samples = len(few) * settings.segments
        found = explain_layers_with_shap(model, image, few, samples, settings.output, settings.seed)
    else:
        options: dict[str, Any] = {
            "path": settings.path,
            "segments": settings.segments,
            "output": settings.output,
            "tolerance": settings.tolerance,
            "more_references": references.more,
        }
        found = explain_layers(model, image, few, **options)
    return numbered({name: layer.to("cpu") for name, layer in found.items()})
