"""Every path and file name of the project, once. All are relative to the folder of dvc.yaml."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
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
MASKS = Path("data/masks")
MASKS_TABLE = MASKS / "masks.csv"
FEATURES = Path("data/features")
DOWNLOADS = Path("work/downloads")
CHECKPOINTS = Path("work/train")
EXPLAIN_WORK = Path("work/explain")
SPOOL = Path("work/spool")
LOCK = Path("work/lock")
RUNNING = Path("work/running.json")
BROKEN_DVC_LOCK = Path("work/broken_dvc.lock")
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
EXPLAINED_IMAGES = EXPLANATIONS / "images.csv"
EXPLAINED_ARRAYS = EXPLANATIONS / "arrays"

REPORTS = Path("reports")
REPORT = REPORTS / "report.html"
CARD = REPORTS / "model_card.md"
REPORT_CURVE = REPORTS / "learning_curve.png"
SMALL_SHEETS = REPORTS / "small_sheets"
COMPARISON = REPORTS / "compare.html"

OTHER_FACES = Path("study/other_faces")
OTHER_FACES_WORK = Path("work/other_faces")
QUALITY = Path("study/quality")
QUALITY_WORK = Path("work/quality")
FOLDS = Path("study/folds")
FOLDS_NUMBERS = FOLDS / "folds.json"
FOLDS_WORK = Path("work/folds")
JUDGED_FOLDS = Path("baseline/folds.json")  # FOLDS_NUMBERS for the gate, which cannot depend on another repository
SEARCH_SPACES = Path("study/search.yaml")
SEARCH_WORK = Path("work/search")

STORE = Path("mlflow.db")
ARTIFACTS = Path("mlartifacts")

LONGEST_NAME = 200  # bytes of the name of an image's pictures; file systems take 255 with all that is added
LONGEST_LAYER = 60  # letters of a layer's name in that of a file


def picture_name(path: str) -> str:
    """Return the stable name of an image's pictures: its path with - for /, without suffix.

    Two paths may have the same (cat/x.jpg and cat/x.png): use `picture_names` where there are others.
    """
    name = str(Path(path).with_suffix("")).replace("/", "-")
    return name if len(name.encode(errors="replace")) <= LONGEST_NAME else _marked(path, name)


def picture_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the name of each image's pictures by its path: as `picture_name`, with a digest where two would be alike.

    Alike: also where a file system that ignores case, or how an accent is written, takes them for one file.
    """
    names = {path: picture_name(path) for path in paths}
    alike = Counter(_on_disk(name) for name in names.values())
    return {path: name if alike[_on_disk(name)] == 1 else _marked(path, name) for path, name in names.items()}


def layer_picture_name(number: int, layer: str) -> str:
    """Return the file name of a layer's picture: what some file system refuses in the layer's name becomes -.

    A module that is called twice has a colon in its name; the number tells layers apart.
    """
    return f"layer_{number:02d}_{_plain(layer)}.png"


def layer_array_name(number: int, layer: str, kind: str) -> str:
    """Return the file name of a layer's values of one kind (heatmap, ...) of all explained images."""
    return f"{number:02d}_{_plain(layer)}_{kind}.npy"


def _plain(layer: str) -> str:
    return re.sub(r"[^\w.-]", "-", layer)[:LONGEST_LAYER]


def _on_disk(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _marked(path: str, name: str) -> str:
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:8]
    short = name.encode(errors="surrogateescape")[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}-{digest}"


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
