"""The page itself: what it shows, filled into its template."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from layershap.plots import canvas
from layershap.reporting.comparison import decisions
from layershap.reporting.comparison.curves import curves
from layershap.reporting.comparison.explained import Explained, compared_maps, layer_table
from layershap.reporting.comparison.facts import predictions
from layershap.reporting.comparison.thumbnails import thumbnail
from layershap.reporting.comparison.tiles import legend, tiles
from layershap.reporting.embedding import fitted
from layershap.reporting.report import render
from layershap.workspace import paths
from layershap.workspace.compared.side import Side

TEMPLATE = "compare.html.j2"
MOST_CHANGED = 12


def page(facts: Mapping[str, Any]) -> str:
    """Return the page as HTML, with all its pictures inside. `facts`: of comparison.facts."""
    first, second = facts["first"], facts["second"]
    content = {
        **facts,
        "curves": _curves(first, second),
        **_explained(compared_maps(first, second, predictions(first), predictions(second))),
    }
    content["explained_alike"] = [row for row in content["settings"] if row[0].startswith("explain.")]
    if rows := facts["changed"]:
        content["changed"] = {
            "counts": {kind: len(found) for kind, found in rows.items()},
            "shown": {
                kind: [{**row, "picture": thumbnail(row["paths"], row["pixels"])} for row in found]
                for kind, found in decisions.shown(rows, MOST_CHANGED).items()
            },
        }
    return render(TEMPLATE, content)


def _curves(first: Side, second: Side) -> list[tuple[str, str]]:
    """Return name and address of the pictures of both learning curves."""
    places = [side.file(paths.LEARNING_CURVE) for side in (first, second)]
    tables = [None if place is None else pd.read_csv(place) for place in places]
    if all(table is None for table in tables):
        return []
    found = []
    for measure in ("loss", "accuracy"):
        found.append((f"{measure} by epoch", fitted(canvas.encode(curves(tables[0], tables[1], measure)))))
    return found


def _explained(found: Explained | None) -> dict[str, Any]:
    """Return what the page shows of the heatmaps."""
    if found is None:
        return {"explained": None, "layers": [], "legend": ""}
    shown, side = tiles(found)
    images = [
        {
            "name": image.first["name"],
            "label": image.first["label"],
            "predicted": [image.first["predicted"], image.second["predicted"]],
            "probability": [float(image.first["probability"]), float(image.second["probability"])],
            "changed": image.changed,
            "same_output": image.same_output,
            "picture": thumbnail([image.first["path"], image.second["path"]], image.pixels),
            "cards": cards,
        }
        for image, cards in shown
    ]
    explained = {
        "images": images,
        "count": len(found.images),
        "of": [len(found.first.images), len(found.second.images)],
        "other_output": sum(not image.same_output for image in found.images),
        "by_name": all(match.by_name for match, _ in found.layers),
        "side": side,
        "shrunk": any(shape and max(shape) > side for _, cards in shown for card in cards for shape in card["sizes"]),
    }
    return {"explained": explained, "layers": layer_table(found.layers), "legend": legend()}
