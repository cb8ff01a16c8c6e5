"""The pictures of one explained image: a PNG for each layer, the contact sheet and the plate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layershap.data.masks import shares
from layershap.explain.explanations import panels
from layershap.model.classifier import Description
from layershap.plots import canvas, sheets, words
from layershap.reporting import figures
from layershap.reporting.contact_sheet import Explained, explained_sheet
from layershap.workspace import paths
from layershap.workspace.params import Explain


def write_pictures(
    folder: Path,
    decision: Mapping[str, Any],
    image: torch.Tensor,
    explained: Explained,
    description: Description,
    settings: Explain,
    compared: str,
    mask: np.ndarray | None = None,
) -> None:
    """Write the pictures of an image [3, H, W] in 0..1 below `folder`, as they stand in explanations/.

    `decision`: its row of images.csv. `explained`: on the processor. `compared`: what the references are.
    `mask` [H, W]: of the whole image as it came, whose outline is drawn.
    """
    name = decision["name"]
    shown = figures.picture(image)
    units = figures.unit(settings.output, description.classes)
    inside = None if mask is None else shares(mask, *shown.shape[:2])
    for (number, layer), found in explained.items():
        (panel,) = panels([found], [f"{number} {layer}"])
        heading = f"{name}, layer {panel.title}"
        picture = sheets.layer_picture(shown, panel, heading, units, pale=settings.pale, inside=inside)
        canvas.save(picture, folder / name / paths.layer_picture_name(number, layer))
    heading = title(decision, description)
    for target, grouped in ((paths.CONTACT_SHEETS, False), (paths.PLATES, True)):
        sheet = explained_sheet(
            shown, explained, heading, compared, units, grouped=grouped, pale=settings.pale, inside=inside
        )
        canvas.save(sheet, folder / target.name / f"{name}.png")


def title(decision: Mapping[str, Any], description: Description) -> str:
    """Return what a sheet's heading says of the decision; a wrong one is marked."""
    labels = dict(zip(description.classes, words.class_names(description.classes), strict=True))
    label, predicted = labels[decision["label"]], labels[decision["predicted"]]
    judged = f"{label}, {'rightly' if decision['correct'] else 'WRONGLY'} taken for {predicted}"
    named = description.classes if len(description.classes) == 2 else [decision["label"], decision["predicted"]]
    return f"{decision['name']}: {judged} ({decision['probability']:.0%} sure){words.note(named)}"
