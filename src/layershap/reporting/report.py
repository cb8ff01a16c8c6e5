"""report.html and the model card, both made from what the stages wrote: no number is computed here a second time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from layershap import __version__
from layershap.data.origins import ORIGINS
from layershap.plots import canvas
from layershap.reporting import decisions, figures, markdown, where
from layershap.reporting.embedding import address, embed
from layershap.reporting.explained.images import picture_order, read_images
from layershap.reporting.explained.places import masked_names, mean_place
from layershap.reporting.explained.stored import StoredMaps
from layershap.reporting.explorer.content import explorer
from layershap.reporting.layer_numbers import layer_means, means_shown
from layershap.workspace import paths
from layershap.workspace.files import read_json
from layershap.workspace.params import Params, dotted_text

TEMPLATES = Path(__file__).parent / "templates"
# all of it stays below 10 MB; bytes, before they become a third more inside the page
SHEETS_BYTES = 3_200_000
MOST_SHEETS = 24
# columns of plots/layers.csv in which a cell without a number is empty
EMPTY = ("error_share", "inside_positive", "inside_size", "inside_peak", "inside_most", "mask_area")
EXPLORER_ROOM = 9_000_000  # letters of the page that pictures and the explorer take; the rest is text


def facts(params: Params) -> dict[str, Any]:
    """Return all that the templates show, read from the files of the stages."""
    origin, licence = ORIGINS[params.data.source]
    empty = {name: [""] for name in EMPTY}
    layers = pd.read_csv(paths.LAYERS_TABLE, dtype={"image": str}, na_values=empty, keep_default_na=False)
    train = read_json(paths.TRAIN_METRICS)
    test = read_json(paths.EVALUATE_METRICS)
    pictures = sorted(paths.EVALUATE_PICTURES.glob("*.png"))
    means = layer_means(layers)
    images = read_images()
    model = read_json(paths.MODEL_CARD)
    explained = read_json(paths.EXPLAIN_METRICS)
    inside = explained.get("inside")
    looked = where_pictures(inside, images, layers, model["classes"]) if inside else {}
    shown = {
        "learning curve": address(learning_curve()),
        "contributions by layer": embed(paths.EXPLANATIONS / "layers.png"),
        **{path.stem: embed(path) for path in pictures if path.stem != "mistakes" or test["accuracy"] < 1},
    }
    sheets_shown = sheets(images)
    taken = [*shown.values(), *looked.values(), *(sheet["address"] for sheet in sheets_shown)]
    room = EXPLORER_ROOM - sum(map(len, taken))
    unit = figures.unit(params.explain.output, model["classes"])
    return {
        "version": __version__,
        "params": params.model_dump(),
        "origin": origin,
        "licence": licence,
        "data": read_json(paths.DATA_METRICS),
        "split": read_json(paths.SPLIT_METRICS),
        "train": train,
        "test": test,
        "explained": explained,
        "inside": inside,
        "where": looked,
        "gate": read_json(paths.GATE_VERDICT),
        "model": model,
        "layers": means,
        "with_prefix": "prefix" in means_shown(means),
        "settings": list(dotted_text(params.model_dump()).items()),
        "pictures": shown,
        "sheets": sheets_shown,
        "explorer": explorer(images, layers, model["image_size"], unit, params.explain.pale, room),
    }


def where_pictures(
    inside: Mapping[str, Any], images: pd.DataFrame, layers: pd.DataFrame, classes: list[str]
) -> dict[str, str]:
    """Return the addresses of the pictures of where the heatmaps look, by their captions.

    `inside`: of metrics/explain.json. `images`: of images.csv. `layers`: of plots/layers.csv.
    """
    masked = images[images["name"].isin(masked_names(layers))].to_dict("records")
    stored = StoredMaps()
    titles = {row["number"]: f"{row['number']} {row['name']}" for row in inside["layers"]}
    places = {title: mean_place(stored, masked, number, classes) for number, title in titles.items()}
    pictures = {
        "share inside the masks, by layer": where.inside_curve(inside),
        f"where what speaks for the decision lies, mean of {len(masked)} images": where.mean_places(places),
    }
    return {caption: address(canvas.encode(figure)) for caption, figure in pictures.items()}


def sheets(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the contact sheets that the page shows: name, address, and whether the decision was right.

    Of the images with pictures, mistakes and others in turn, at most MOST_SHEETS. `images`: of images.csv.
    """
    pictured = images[images["picture"] == 1].reset_index(drop=True)
    shown = pictured.loc[picture_order(pictured)[:MOST_SHEETS]]
    limit = SHEETS_BYTES // max(len(shown), 1)
    return [
        {"name": name, "address": embed(paths.CONTACT_SHEETS / f"{name}.png", limit), "correct": bool(correct)}
        for name, correct in zip(shown["name"], shown["correct"], strict=True)
    ]


def learning_curve() -> bytes:
    """Return the picture of loss and accuracy by epoch, the kept one marked, as the bytes of a PNG file."""
    rows = pd.read_csv(paths.LEARNING_CURVE).to_dict("records")
    best = int(read_json(paths.TRAIN_METRICS)["best_epoch"]) - 1
    return canvas.encode(decisions.learning_curve(rows, best))


def render(name: str, content: Mapping[str, Any]) -> str:
    """Fill the template `name`; a name that the content lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "code": markdown.code, "sentence": markdown.sentence}
    return environment.get_template(name).render(content)


def cell(text: str) -> str:
    """Return a name as it can stand in a table of Markdown."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
