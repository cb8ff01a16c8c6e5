"""The workspace as one of the two that are compared: the files as they lie here."""

from pathlib import Path

from layershap.workspace import paths
from layershap.workspace.compared import git
from layershap.workspace.compared.side import Side, side_of_files
from layershap.workspace.files import file_digest

WORKSPACE = "workspace"


def read_workspace(with_model: bool = False) -> Side:
    """Return the model that is here; `with_model`: with the digest of its weights.

    Raises InputError where it was not evaluated.
    """
    known = git.commit("HEAD")
    facts = {}
    if known:
        changed = " and changes since" if git.changed() else ""
        facts = {"commit": f"{known.digest[:10]}{changed}", "date": known.date}
    lacking = () if paths.EXPLAINED_ARRAYS.exists() else (f"no {paths.EXPLAINED_ARRAYS} here: 'dvc repro explain'",)
    weights = file_digest(paths.MODEL_WEIGHTS) if with_model and paths.MODEL_WEIGHTS.exists() else ""
    return side_of_files("workspace", WORKSPACE, facts, Path(), lacking, weights)
