"""Every path and file name of the project, once. All are relative to the folder of dvc.yaml."""

import os
from pathlib import Path

from layershap.workspace.errors import SettingsError

PARAMS = Path("params.yaml")
DVC_LOCK = Path("dvc.lock")
DVC_YAML = Path("dvc.yaml")
DVC_IGNORE = Path(".dvcignore")
DVC_RWLOCK = Path(".dvc/tmp/rwlock")
BASELINE = Path("baseline/baseline.json")

RAW = Path("data/raw")
IMAGES_TABLE = Path("data/images.csv")
REFUSED_TABLE = Path("data/refused.csv")
SPLIT_TABLE = Path("data/split.csv")
FEATURES = Path("data/features")
DOWNLOADS = Path("work/downloads")
CHECKPOINTS = Path("work/train")
SPOOL = Path("work/spool")
LOCK = Path("work/lock")
RUNNING = Path("work/running.json")
RECORDED = Path("work/recorded.json")

MODELS = Path("models")
MODEL_WEIGHTS = MODELS / "model.pt"
MODEL_CARD = MODELS / "model.json"
MODEL_REFERENCES = MODELS / "references.npz"

METRICS = Path("metrics")
DATA_METRICS = METRICS / "data.json"
SPLIT_METRICS = METRICS / "split.json"
TRAIN_METRICS = METRICS / "train.json"
EVALUATE_METRICS = METRICS / "evaluate.json"
EXPLAIN_METRICS = METRICS / "explain.json"
GATE_VERDICT = METRICS / "gate.json"
HEADLINE = METRICS / "headline.json"
GATE_SUMMARY = METRICS / "gate.md"
GATE_JUNIT = METRICS / "gate.xml"

PLOTS = Path("plots")
LEARNING_CURVE = PLOTS / "learning_curve.csv"
PREDICTIONS = PLOTS / "predictions.csv"
RELIABILITY = PLOTS / "reliability.csv"
EVALUATE_PICTURES = PLOTS / "evaluate"
LAYERS_TABLE = PLOTS / "layers.csv"

EXPLANATIONS = Path("explanations")
CONTACT_SHEETS = EXPLANATIONS / "contact_sheets"
PLATES = EXPLANATIONS / "plates"

REPORTS = Path("reports")
REPORT = REPORTS / "report.html"
CARD = REPORTS / "model_card.md"
REPORT_CURVE = REPORTS / "learning_curve.png"

OTHER_FACES = Path("study/other_faces")
OTHER_FACES_WORK = Path("work/other_faces")
QUALITY = Path("study/quality")
QUALITY_WORK = Path("work/quality")

STORE = Path("mlflow.db")
ARTIFACTS = Path("mlartifacts")


def picture_name(path: str) -> str:
    """Return the stable name of an image's pictures: its path with - for /, without suffix."""
    return str(Path(path).with_suffix("")).replace("/", "-")


def project_root() -> Path:
    """Return the folder of dvc.yaml and params.yaml: the nearest above here, or above DVC's own answer inside a stage.

    (The studies have a dvc.yaml of their own, but no settings.)
    """
    here = Path(os.environ.get("DVC_ROOT") or Path.cwd())
    found = [folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()]
    for folder in found:
        if (folder / PARAMS).is_file():
            return folder
    if found:
        return found[0]
    raise SettingsError(f"no dvc.yaml in {here} or above it: run this inside the project's folder")


def repository() -> Path:
    """Return the repository's folder, also from inside a temporary copy that `dvc exp run --temp` made in it."""
    root = project_root().resolve()
    for folder in root.parents:
        if folder.name == ".dvc" and "exps" in root.parts:
            return folder.parent
    return root
