"""One of the two that are compared, in one form wherever it comes from."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layershap.workspace import paths
from layershap.workspace.errors import InputError, SettingsError
from layershap.workspace.files import read_json
from layershap.workspace.params import check_params, dotted_text, read_yaml

MAPS = ("heatmap", "standard_error")  # kinds of arrays that are compared


@dataclass(frozen=True)
class Side:
    """What is known of one of the two.

    kind: workspace, run, model, experiment or revision. name: as it was asked for. facts: what the page says of it
    (commit, date, ...), by name. settings: by dotted name, as `dvc exp run -S` takes them. numbers: of
    metrics/evaluate.json under their own names, with / between; those of train and explain below train/ and explain/.
    verdict: the gate's, or nothing. folder: holds plots/predictions.csv, plots/learning_curve.csv and
    explanations/ with images.csv and arrays/, as far as they are there. lacking: a sentence for what is not, with the
    way to get it. model: SHA-256 of its weights, where it was asked for. run_id: of its MLflow run, where it is one.
    reasons: the gate's sentences, where they are known.
    """

    kind: str
    name: str
    facts: Mapping[str, str]
    settings: Mapping[str, str]
    numbers: Mapping[str, float]
    verdict: str
    folder: Path
    lacking: tuple[str, ...] = ()
    model: str = ""
    run_id: str = ""
    reasons: tuple[str, ...] = ()

    def file(self, path: Path) -> Path | None:
        """Return where the project's file or folder `path` of this side is; None where it is not there."""
        place = self.folder / path
        return place if place.exists() else None


def side_of_files(
    kind: str, name: str, facts: Mapping[str, str], folder: Path, lacking: tuple[str, ...] = (), model: str = ""
) -> Side:
    """Return the side whose params.yaml, metrics/ and tables lie in `folder` as in a project.

    Raises InputError where it was not evaluated.
    """
    if not (folder / paths.EVALUATE_METRICS).exists():
        way = "run 'dvc repro'" if kind == "workspace" else "choose one at which 'dvc repro' ran to its end"
        raise InputError(f"{name} has no {paths.EVALUATE_METRICS}: {way}")
    content = read_yaml(folder / paths.PARAMS)
    with suppress(SettingsError):  # those of another version of layershap
        content = check_params(content).model_dump()
    numbers = flat(read_json(folder / paths.EVALUATE_METRICS))
    for group, path in (("train", paths.TRAIN_METRICS), ("explain", paths.EXPLAIN_METRICS)):
        if (folder / path).exists():
            numbers |= flat(read_json(folder / path), f"{group}/")
    gate = folder / paths.GATE_VERDICT
    judged = read_json(gate) if gate.exists() else {"verdict": "", "reasons": []}
    settings = dotted_text(content)
    verdict, reasons = str(judged["verdict"]), tuple(judged["reasons"])
    return Side(kind, name, facts, settings, numbers, verdict, folder, lacking, model, reasons=reasons)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers among nested values, by their names with / between."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = float(value)
    return found
