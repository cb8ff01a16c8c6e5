"""The project's own stages in a folder beside its outs, which then stay as they are."""

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from layershap.workspace import paths
from layershap.workspace.files import remove
from layershap.workspace.params import Params

# settings that may be a path in the project
PATHS = (("data", "path"), ("data", "masks"), ("model", "code"), ("model", "weights"))
NO_PATHS = ("imagenet", "own", "random")  # of weights
# many small trainings: one process each, no patch of the code, no pictures of mistakes
PLAIN: dict[str, Any] = {
    "trainer": {"devices": 1, "num_nodes": 1, "strategy": "auto"},
    "tracking": {"patch": False},
    "evaluate": {"mistakes": 0},
    "launcher": None,
}


def settings_elsewhere(params: Params) -> dict[str, Any]:
    """Return the settings as another folder needs them: paths absolute, one process, nothing for the eye."""
    content = params.model_dump()
    for section, key in PATHS:
        value = content[section][key]
        if not (key == "weights" and value in NO_PATHS) and Path(value).exists():
            content[section][key] = str(Path(value).resolve())
    for name, value in PLAIN.items():
        content[name] = {**content[name], **value} if isinstance(value, Mapping) else value
    return content


@contextmanager
def elsewhere(folder: Path, content: Mapping[str, Any], links: Mapping[Path, Path]) -> Iterator[None]:
    """Work in `folder`, made where it is not there, as in a project with the settings `content`.

    `links`: what stands there by a link, and where it is now. The stages write to a store of MLflow beside `folder`,
    which nobody looks at: what is worth keeping is recorded from their outs.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, place in links.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            remove(target)
        target.symlink_to(place.resolve())
    (folder / paths.DVC_YAML).write_text("stages: {}\n", encoding="utf-8")
    YAML(typ="safe").dump(dict(content), folder / paths.PARAMS)
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") or name == "DVC_ROOT"}
    here = {"DVC_ROOT": str(folder), "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / paths.STORE}"}
    for other in {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"} & set(before):
        del os.environ[other]
    os.environ.update(here)
    try:
        with chdir(folder):
            yield
    finally:
        for own in here:
            del os.environ[own]
        os.environ.update(before)
