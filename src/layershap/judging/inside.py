"""Where the heatmaps look, as the gate reads and judges it. Imports nothing heavy."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from layershap.judging.evidence import AGAIN, Facts, InvalidEvidenceError, Share, read_facts
from layershap.judging.gate import Policy, Verdict
from layershap.judging.statistics import exceeds

COLUMN, IMAGE, LAYER, AREA = "inside_positive", "image", "layer", "mask_area"  # of plots/layers.csv
NO_MASKS = (
    "gate.min_inside = {minimum:g} asks where the heatmaps look, and no explained image has a mask: put masks into the "
    "folder data.masks (see its README) and run 'dvc repro', or set gate.min_inside to null"
)


class Layer(Facts):
    """A layer of `inside` in metrics/explain.json, as far as the gate reads it.

    positive: with its 95 % interval. most: what maps of its resolution can have inside.
    """

    number: int
    name: str
    images: Annotated[int, Field(ge=1)]
    positive: Share
    positive_low: Share
    positive_high: Share
    most: Share


class Inside(Facts):
    """`inside` in metrics/explain.json."""

    images: Annotated[int, Field(ge=1)]
    mask_area: Share
    layers: list[Layer]


class _Explained(Facts):
    inside: Inside | None = None


def read_inside(explained: Path, table: Path) -> Inside | None:
    """Return what metrics/explain.json says of the masks; None where it says nothing.

    `table`: plots/layers.csv, of whose rows they are the means. Raises InvalidEvidenceError where they are not.
    """
    found = read_facts(explained, _Explained).inside
    values, areas = _values(table)
    if found is None:
        if areas:
            raise InvalidEvidenceError([f"{table} has masks of {len(areas)} images and {explained} has none; {AGAIN}"])
        return None
    reasons = []
    if len(areas) != found.images or abs(sum(areas.values()) / len(areas) - found.mask_area) > 1e-9:
        reasons.append(f"{explained}: {found.images} masks, mean area {found.mask_area:g}, are not those of {table}")
    if {layer.number for layer in found.layers} != set(values):
        reasons.append(f"{explained}: the layers with shares inside the masks are not those of {table}")
    for layer in found.layers:
        shares = values.get(layer.number, [])
        if len(shares) != layer.images or abs(sum(shares) / len(shares) - layer.positive) > 1e-9:
            reasons.append(f"{explained}: share {layer.positive:g} at layer {layer.number} is not that of {table}")
        elif not layer.positive_low <= layer.positive <= layer.positive_high:
            reasons.append(f"{explained}: share {layer.positive:g} at layer {layer.number} is outside its own interval")
    if reasons:
        raise InvalidEvidenceError([f"{reason}; {AGAIN}" for reason in reasons])
    return found


def _values(table: Path) -> tuple[dict[int, list[float]], dict[str, float]]:
    """Return the shares inside by layer, and the areas of the masks by image."""
    values: dict[int, list[float]] = {}
    areas: dict[str, float] = {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, strict=True):
                if row.get(AREA):
                    areas[row[IMAGE]] = float(row[AREA])
                if row.get(COLUMN):
                    values.setdefault(int(row[LAYER]), []).append(float(row[COLUMN]))
    except FileNotFoundError:
        raise InvalidEvidenceError([f"no {table}; {AGAIN.removesuffix(' again')}"]) from None
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InvalidEvidenceError([f"{table} cannot be read ({error}); {AGAIN}"]) from None
    return values, areas


def with_inside(
    verdict: Verdict, found: Inside | None, minimum: float, asked: int | str | None, policy: Policy
) -> Verdict:
    """Return the verdict with what the masks add to it: a share that does not reach `minimum` is a FAIL.

    `asked`: number or name of the layer; None: the last one. What cannot be judged is INVALID, never a yes.
    """
    if verdict.verdict == "INVALID":
        return verdict
    if found is None or not found.layers:
        return replace(verdict, verdict="INVALID", reasons=[NO_MASKS.format(minimum=minimum)])
    layer = _layer(found, asked)
    if layer is None:
        known = ", ".join(f"{layer.number} {layer.name}" for layer in found.layers)
        reason = f"gate.inside_layer = {asked} is no layer: set it to one of {known}, by number or name, or to null"
        return replace(verdict, verdict="INVALID", reasons=[reason])
    name = {"strict": "lower end", "point": "mean", "lenient": "upper end"}[policy]
    value = {"strict": layer.positive_low, "point": layer.positive, "lenient": layer.positive_high}[policy]
    images = f"{layer.images} image" if layer.images == 1 else f"{layer.images} images"
    said = (
        f"{layer.positive:.4f} (95 % {layer.positive_low:.4f} to {layer.positive_high:.4f}, {images}) of what speaks "
        f"for the decision at layer {layer.number} {layer.name} lies inside the masks, whose share of the area is "
        f"{found.mask_area:.4f}"
    )
    floor = f"gate.min_inside = {minimum:g} (policy {policy}: {name} {value:.4f})"
    if exceeds(minimum, value):
        way = (
            "reports/report.html shows where it lies; take what gives the class away beside the masks out of the "
            "images, or lower gate.min_inside"
        )
        if exceeds(minimum, layer.most):
            way = (
                f"maps of this layer can have {layer.most:.4f} inside at most, for their places are large beside the "
                f"masks: set gate.inside_layer to a lower one"
            )
        failed = f"{said}: below {floor}; {way}"
        others = verdict.reasons if verdict.verdict == "FAIL" else []
        return replace(verdict, verdict="FAIL", reasons=[*others, failed])
    return replace(verdict, reasons=[*verdict.reasons, f"{said}: reaches {floor}"])


def _layer(found: Inside, asked: int | str | None) -> Layer | None:
    if asked is None:
        return found.layers[-1]
    return next((layer for layer in found.layers if asked in (layer.number, layer.name)), None)
