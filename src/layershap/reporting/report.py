"""report.html and the model card, both made from what the stages wrote: no number is computed here a second time."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from layershap import __version__
from layershap.data.origins import ORIGINS
from layershap.reporting import canvas, decisions
from layershap.reporting.layer_numbers import layer_means
from layershap.workspace import paths
from layershap.workspace.files import read_json
from layershap.workspace.params import Params

TEMPLATES = Path(__file__).parent / "templates"


def facts(params: Params) -> dict[str, Any]:
    """Return all that the templates show, read from the files of the stages."""
    origin, licence = ORIGINS[params.data.source]
    layers = pd.read_csv(paths.LAYERS_TABLE)
    train = read_json(paths.TRAIN_METRICS)
    return {
        "version": __version__,
        "params": params.model_dump(),
        "origin": origin,
        "licence": licence,
        "data": read_json(paths.DATA_METRICS),
        "split": read_json(paths.SPLIT_METRICS),
        "train": train,
        "test": read_json(paths.EVALUATE_METRICS),
        "explained": read_json(paths.EXPLAIN_METRICS),
        "gate": read_json(paths.GATE_VERDICT),
        "model": read_json(paths.MODEL_CARD),
        "layers": layer_means(layers),
        "settings": settings_table(params.model_dump()),
        "pictures": {
            "learning curve": _address(learning_curve()),
            "contributions by layer": embed(paths.EXPLANATIONS / "layers.png"),
            **{path.stem: embed(path) for path in sorted(paths.EVALUATE_PICTURES.glob("*.png"))},
        },
        "sheets": {path.stem: embed(path) for path in sorted(paths.CONTACT_SHEETS.glob("*.png"))},
    }


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
    return environment.get_template(name).render(content)


def settings_table(params: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return every setting as it would be given to `dvc exp run -S`."""
    return [
        (f"{section}.{key}", "null" if value is None else str(value))
        for section, values in params.items()
        for key, value in values.items()
    ]


def embed(picture: Path) -> str:
    """Return a PNG file as the address of an image inside the page."""
    return _address(picture.read_bytes())


def _address(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
