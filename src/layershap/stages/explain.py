"""Stage explain: heatmaps of every layer for chosen test images, with their numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from layershap.data.features import batches, load_batch
from layershap.data.tables import Dataset, natural, read_table, write_table
from layershap.explain import Chain, blurred_reference, choose_references, explain_layers, mean_reference
from layershap.explain.explanations import panels
from layershap.explain.shap_engine import explain_layers_with_shap
from layershap.hardware.prepare import prepare
from layershap.model.classifier import Description, load_classifier, numbered
from layershap.plots import canvas, sheets, words
from layershap.progress import progress_bar, warnings_above_the_bar
from layershap.reporting import figures
from layershap.reporting.contact_sheet import Explained, explained_sheet
from layershap.reporting.layer_numbers import layer_numbers, layer_sums
from layershap.workspace import paths
from layershap.workspace.files import replacing, write_json
from layershap.workspace.params import Explain, load_params


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
    def of(cls, dataset: Dataset, settings: Explain, size: int) -> "References":
        """Choose and load them."""
        train = dataset.rows("train")
        if settings.reference == "blur":
            return cls(train[:0], "the image blurred")
        if settings.reference == "mean":
            images = [dataset.paths[row] for row in train]
            mean = mean_reference(load_batch(images[rows], size) for rows in batches(len(images), 64, "mean"))
            return cls(train, "the mean training image", mean)
        few = settings.references
        wanted = few + (settings.more_references if settings.engine == "secant" else 0)
        count = max(min(wanted, len(train)), few)  # too few for `few` is an error
        chosen = train[choose_references(dataset.targets[train].tolist(), count, settings.seed)]
        loaded = load_batch([dataset.paths[row] for row in chosen], size)
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
    prepare(params)
    settings = params.explain
    dataset = Dataset.read()
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    references = References.of(dataset, settings, description.image_size)
    table = choose_images(settings.per_class)
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[np.ndarray]] = {}
    print(f"{len(table)} images, {len(model.names)} layers; {references.followed(settings.segments)}")
    names = paths.picture_names(read_table(paths.PREDICTIONS)["path"])
    with replacing(paths.EXPLANATIONS) as partial, warnings_above_the_bar("explain"):
        for decision in progress_bar(table.to_dict("records"), desc="explain", unit="image"):
            image = load_batch([paths.RAW / decision["path"]], description.image_size)
            explained = explain_one(model, image, references, settings)
            name = names[decision["path"]]
            write_pictures(partial, name, decision, image[0], explained, description, settings, references.words)
            found = layer_numbers(name, explained)
            rows += found
            curves[name] = layer_sums(found)
        numbers = [row["layer"] for row in found]
        curve = figures.layers_curve(curves, numbers, figures.unit(settings.output, description.classes))
        canvas.save(curve, partial / "layers.png")
        write_table(partial / "references.csv", dataset.images.iloc[references.rows][["path", "label"]])
    layers = pd.DataFrame(rows)
    summed = layers["positive"] - layers["negative"] + layers["prefix"].abs()
    write_table(paths.LAYERS_TABLE, layers)
    summary = {
        "images": len(table),
        "layers": len(numbers),
        "maps": int(np.isfinite(layers[["positive", "negative", "gap"]]).all(axis=1).sum()),
        "constant_maps": int(layers["constant"].sum()),
        "references": references.count,
        "segments": int(layers["segments"].max()),
        "largest_gap": float(layers["gap"].abs().max()),
        # of what is summed: what is above and below 0 may cancel
        "largest_relative_gap": float((layers["gap"].abs() / summed.clip(1e-12)).max()),
        "engine": settings.engine,
    }
    write_json(paths.EXPLAIN_METRICS, summary)
    print(f"{len(table)} images, {len(numbers)} layers each; contact sheets are in {paths.CONTACT_SHEETS}")


def choose_images(per_class: int) -> pd.DataFrame:
    """Return the predictions to explain: of each class the first by digest, right decisions and wrong ones in turn.

    The digest mixes the images and is the same in every run; where one kind runs out, the other fills in.
    """
    table = read_table(paths.PREDICTIONS).sort_values("pixels")
    table["rank"] = table.groupby(["label", "correct"]).cumcount() * 2 + (1 - table["correct"])
    places = {label: place for place, label in enumerate(sorted(set(table["label"]), key=natural))}
    table["place"] = table["label"].map(places)
    chosen = table.sort_values(["place", "rank"]).groupby("label").head(per_class)
    return chosen.drop(columns=["pixels", "rank", "place"])


def explain_one(model: Chain, image: torch.Tensor, references: References, settings: Explain) -> Explained:
    """Explain one image [1, 3, H, W] with the engine of the settings."""
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
    return numbered(found)


def write_pictures(
    folder: Path,
    name: str,
    decision: dict[str, Any],
    image: torch.Tensor,
    explained: Explained,
    description: Description,
    settings: Explain,
    compared: str,
) -> None:
    """Write a PNG per layer, the contact sheet and the arrays of one image."""
    shown = figures.picture(image)
    units = figures.unit(settings.output, description.classes)
    arrays: dict[str, np.ndarray] = {}
    for (number, layer), found in explained.items():
        (panel,) = panels([found], [f"{number} {layer}"])
        picture = sheets.layer_picture(shown, panel, f"{name}, layer {panel.title}", units, pale=settings.pale)
        canvas.save(picture, folder / name / paths.layer_picture_name(number, layer))
        arrays[f"{number:02d}_{layer}_heatmap"] = found.heatmap[0].numpy()
        arrays[f"{number:02d}_{layer}_standard_error"] = found.standard_error[0].numpy()
        if found.prefix is not None:
            arrays[f"{number:02d}_{layer}_prefix"] = found.prefix[0].numpy()
        if found.own is not None and found.reference is not None:
            arrays[f"{number:02d}_{layer}_own"] = found.own[0].numpy()
            arrays[f"{number:02d}_{layer}_reference"] = found.reference[0].numpy()
    sure = decision[f"p_{decision['predicted']}"]
    labels = dict(zip(description.classes, words.class_names(description.classes), strict=True))
    label, predicted = labels[decision["label"]], labels[decision["predicted"]]
    judged = f"{label}, {'rightly' if decision['correct'] else 'WRONGLY'} taken for {predicted}"
    named = description.classes if len(description.classes) == 2 else [decision["label"], decision["predicted"]]
    title = f"{name}: {judged} ({sure:.0%} sure){words.note(named)}"
    for target, grouped in ((paths.CONTACT_SHEETS, False), (paths.PLATES, True)):
        sheet = explained_sheet(shown, explained, title, compared, units, grouped=grouped, pale=settings.pale)
        canvas.save(sheet, folder / target.name / f"{name}.png")
    np.savez(folder / name / "arrays.npz", **arrays)  # type: ignore[arg-type]
