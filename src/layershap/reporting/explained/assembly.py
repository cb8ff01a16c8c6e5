"""The outs of stage explain from the parts of all images. One process does this, when all parts are there."""

import shutil
from typing import Any

import numpy as np
import pandas as pd

from layershap.data.tables import write_table
from layershap.plots import canvas
from layershap.reporting import figures
from layershap.reporting.explained.arrays import write_arrays
from layershap.reporting.explained.images import MISTAKE
from layershap.reporting.explained.parts import Parts
from layershap.reporting.layer_numbers import layer_sums
from layershap.workspace import paths
from layershap.workspace.files import replacing


def assemble(parts: Parts, images: pd.DataFrame, references: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Write explanations/ and plots/layers.csv, and return the latter's table: a row for each image and layer.

    `images`: as images.csv has them. `references`: path and label of the images they were compared with. `unit`: of
    the explained output. Raises InputError unless the part of each image is there.
    """
    parts.check()
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[np.ndarray]] = {}
    with replacing(paths.EXPLANATIONS) as partial:
        write_arrays(partial / paths.EXPLAINED_ARRAYS.name, parts.count, map(parts.arrays, range(parts.count)))
        for index, name in enumerate(images["name"]):
            found = parts.rows(index)
            rows += found
            curves[name] = layer_sums(found)
            if pictures := parts.pictures(index):
                shutil.copytree(pictures, partial, dirs_exist_ok=True)
        pictured = images.loc[images["picture"] == 1, "name"].tolist()
        curve = figures.layers_curve(curves, [row["layer"] for row in found], unit, pictured)
        canvas.save(curve, partial / "layers.png")
        write_table(partial / paths.EXPLAINED_IMAGES.name, images)
        write_table(partial / "references.csv", references)
    layers = pd.DataFrame(rows)
    write_table(paths.LAYERS_TABLE, layers)
    return layers


def summary(images: pd.DataFrame, layers: pd.DataFrame) -> dict[str, Any]:
    """Return what metrics/explain.json says of all images: how many, and how well their sums hold."""
    summed = layers["positive"] - layers["negative"] + layers["prefix"].abs()
    return {
        "images": len(images),
        "mistakes": int((images["chosen"] == MISTAKE).sum()),
        "pictures": int(images["picture"].sum()),
        "layers": int(layers["layer"].nunique()),
        "maps": int(np.isfinite(layers[["positive", "negative", "gap"]]).all(axis=1).sum()),
        "constant_maps": int(layers["constant"].sum()),
        "segments": int(layers["segments"].max()),
        "largest_gap": float(layers["gap"].abs().max()),
        # of what is summed: what is above and below 0 may cancel
        "largest_relative_gap": float((layers["gap"].abs() / summed.clip(1e-12)).max()),
    }
