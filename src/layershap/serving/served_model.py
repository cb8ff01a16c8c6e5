"""The model as MLflow serves it ("models from code"): loaded by MLflow from a logged model's folder, never imported.

Input: a table with the column `image`: bytes of an image file, these in base64, or pixels [H, W, 3] in 0..255.
Output: class, its probability, those of all classes; with the parameter `layers` also their heatmaps and sums
(heatmap and prefix, the tokens before the grid, add up to the sum).
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from layershap.serving.predictor import Predictor
from layershap.workspace.errors import InputError

MOST_SEGMENTS = 64  # one request must not hold up a server


class ServedModel(PythonModel):
    """A classifier that explains itself."""

    def load_context(self, context: Any) -> None:
        """Read the model's files."""
        self.predictor = Predictor(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row per image.

        `params`: layers ("" for none, "all", or names or numbers with commas between), path, segments (1 to
        MOST_SEGMENTS), output.
        """
        options = {"layers": "", "path": "image", "segments": 4, "output": "margin", **(params or {})}
        if not 1 <= options["segments"] <= MOST_SEGMENTS:
            raise InputError(f"segments must be from 1 to {MOST_SEGMENTS} here, not {options['segments']}")
        table = pd.DataFrame(model_input)
        images = self.predictor.read(list(table["image"]))
        rows = [
            {
                "class": found.label,
                "probability": found.probabilities[found.label],
                "probabilities": found.probabilities,
            }
            for found in self.predictor.predict(images)
        ]
        wanted = str(options.pop("layers")).strip()
        if wanted:
            names = None if wanted == "all" else [name.strip() for name in wanted.split(",")]
            explained = self.predictor.explain(images, names, **options)
            for index, row in enumerate(rows):
                row["explanation"] = [
                    {
                        "layer": number,
                        "name": name,
                        "sum": float(layer.total[index]),
                        "expected": float(layer.expected[index]),
                        "gap": float(layer.gap[index]),
                        "prefix": 0.0 if layer.prefix is None else float(layer.prefix[index]),
                        "heatmap": layer.heatmap[index].tolist(),
                        "standard_error": layer.standard_error[index].tolist(),
                    }
                    for (number, name), layer in explained.items()
                ]
        return pd.DataFrame(rows)


set_model(ServedModel())
