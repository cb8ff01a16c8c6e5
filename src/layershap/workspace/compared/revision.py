"""A git revision or a DVC experiment as one of the two that are compared: from git, and from DVC's cache."""

import hashlib
from pathlib import Path
from typing import Any

from layershap.workspace import paths
from layershap.workspace.compared.git import Commit
from layershap.workspace.compared.side import MAPS, Side, side_of_files
from layershap.workspace.errors import first_line
from layershap.workspace.files import remove

IN_GIT = (
    paths.PARAMS,
    paths.EVALUATE_METRICS,
    paths.TRAIN_METRICS,
    paths.EXPLAIN_METRICS,
    paths.GATE_VERDICT,
    paths.PREDICTIONS,
    paths.LEARNING_CURVE,
    paths.BASELINE,
)


def read_revision(kind: str, name: str, commit: Commit, folder: Path, with_model: bool = False) -> Side:
    """Return what git and DVC's cache hold of a commit; its files are copied to `folder`.

    kind: revision or experiment. What DVC's cache lacks, and its remote too, is named in `lacking`.
    Raises InputError where the commit has no metrics/evaluate.json.
    """
    # a second and more, when it is needed
    from dvc.api import DVCFileSystem

    files: Any = DVCFileSystem(str(paths.repository()), rev=commit.digest)
    lacking = []
    for path in IN_GIT:
        reason = _copy(files, path, folder)
        if reason and path in (paths.PREDICTIONS, paths.LEARNING_CURVE):
            lacking.append(f"{name} has no {path} ({reason})")
    try:
        _copy_maps(files, folder)
    except Exception as error:
        way = f"'git checkout {commit.digest[:10]} && dvc pull explanations' or 'dvc repro explain' there brings them"
        lacking.append(f"the heatmaps of {name} are not in DVC's cache ({first_line(error)}); {way}")
    model = ""
    if with_model:
        try:
            with files.open(paths.MODEL_WEIGHTS.as_posix(), "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(2**20):
                    digest.update(block)
            model = digest.hexdigest()
        except Exception as error:
            lacking.append(f"{paths.MODEL_WEIGHTS} of {name} is not in DVC's cache ({first_line(error)})")
    facts = {"commit": commit.digest[:10], "date": commit.date, "message": commit.subject}
    return side_of_files(kind, name, facts, folder, tuple(lacking), model)


def _copy(files: Any, path: Path, folder: Path) -> str:
    """Copy a file of the commit below `folder`; return why it is not there, or nothing."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.get_file(path.as_posix(), str(target))
    except Exception as error:  # git, DVC, the file system and remotes of any kind have errors of their own
        target.unlink(missing_ok=True)
        return first_line(error)
    return ""


def _copy_maps(files: Any, folder: Path) -> None:
    (folder / paths.EXPLAINED_ARRAYS).mkdir(parents=True)
    try:
        for place in files.ls(paths.EXPLAINED_ARRAYS.as_posix(), detail=False):
            if any(place.endswith(f"_{kind}.npy") for kind in MAPS):
                files.get_file(place, str(folder / paths.EXPLAINED_ARRAYS / Path(place).name))
        files.get_file(paths.EXPLAINED_IMAGES.as_posix(), str(folder / paths.EXPLAINED_IMAGES))
    except Exception:
        remove(folder / paths.EXPLANATIONS)
        raise
