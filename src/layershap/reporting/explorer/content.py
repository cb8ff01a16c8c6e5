"""What the layer explorer shows: pictures, maps and their words, for as many images as the page has room for."""

import json
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from layershap.data.images import read_image, resize
from layershap.plots.sheets import PALE, SIGNED, density, signed_limit
from layershap.reporting.embedding import address, jpeg
from layershap.reporting.explained.images import picture_order
from layershap.reporting.explained.stored import StoredMaps
from layershap.reporting.explorer.packing import pack_errors, pack_values
from layershap.workspace import paths

INPUT_BYTES = 60_000  # of an image's picture


def explorer(images: pd.DataFrame, layers: pd.DataFrame, size: int, unit: str, pale: bool, room: int) -> dict[str, Any]:
    """Return the content of the explorer, of as many images with pictures as `room` letters of JSON can hold.

    `images`: of images.csv. `layers`: of plots/layers.csv. `size`: pixels a side that the network sees. `unit`: of the
    values. `pale`: whether what is within twice its error is pale at first. Mistakes and others in turn, as the sheets.
    """
    pictured = images[images["picture"] == 1].reset_index(drop=True)
    ordered = pictured.loc[picture_order(pictured)]
    named = layers.drop_duplicates(["layer", "name"]).sort_values("layer")
    numbers = [(int(number), str(name)) for number, name in zip(named["layer"], named["name"], strict=True)]
    stored = StoredMaps()
    found: dict[str, Any] = {
        "unit": unit,
        "pale": pale,
        "strength": PALE,
        "colours": colours(),
        "layers": [{"number": number, "name": name} for number, name in numbers],
        "images": [],
        "of": len(ordered),
    }
    left = room - len(json.dumps(found))
    for decision in ordered.to_dict("records"):
        image = {
            "name": decision["name"],
            "decision": words(decision),
            "picture": input_picture(decision["path"], size),
            "maps": [layer_map(stored, number, decision["name"]) for number, _ in numbers],
        }
        left -= len(json.dumps(image)) + 2
        if left < 0:
            break
        found["images"].append(image)
    return found


def layer_map(stored: StoredMaps, layer: int, image: str) -> dict[str, Any]:
    """Return the map of one layer and image: rows, columns, limit of its colours, values, errors and prefix (or None).

    limit: as in the pictures, per 1 % of the image's area.
    """
    (values,) = stored.maps(layer, [image])
    errors, prefix = (_stored(stored, layer, image, kind) for kind in ("standard_error", "prefix"))
    known = errors is not None and bool(np.isfinite(errors).all())
    return {
        "rows": values.shape[0],
        "columns": values.shape[1],
        "limit": signed_limit(density(values)),
        **pack_values(values),
        **(pack_errors(errors, values) if errors is not None and known else {"highest": None, "errors": None}),
        "prefix": None if prefix is None else float(prefix),
    }


def words(decision: dict[str, Any]) -> str:
    """Return what a row of images.csv says of the decision."""
    how = "rightly" if int(decision["correct"]) else "wrongly"
    sure = f"{float(decision['probability']):.0%} sure"
    return f"{decision['label']}, {how} taken for {decision['predicted']} ({sure})"


def input_picture(path: str, size: int) -> str:
    """Return the address of the picture of a test image as the network saw it."""
    return address(jpeg(resize(read_image(paths.RAW / path), size), INPUT_BYTES), "jpeg")


def colours() -> str:
    """Return the signed colour scale of the pictures, 256 colours of six hexadecimal digits, from below 0 to above."""
    scale = matplotlib.colormaps[SIGNED]
    return bytes(scale(np.arange(256), bytes=True)[:, :3].ravel()).hex()


def _stored(stored: StoredMaps, layer: int, image: str, kind: str) -> np.ndarray | None:
    try:
        return stored.maps(layer, [image], kind)[0]
    except KeyError:
        return None
