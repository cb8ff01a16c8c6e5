"""What a temporary copy of the project lacks: files that git does not carry."""

import os
import shutil
from pathlib import Path

from layershap.workspace import paths


def bring_own_files(path: Path) -> None:
    """Bring what git does not carry below `path` from the repository to the copy in which an experiment runs.

    `dvc exp run --temp` (and --queue) works in a copy of what git tracks, where a folder of the user's images is empty.
    Files that are there stay: they are the commit's own. Nothing is done in the repository itself, or for an absolute
    path. Links are made where the disk allows, for DVC reads the files again when the stage has ended.
    """
    # a stage runs in the copy, also where DVC names the repository as its root
    here, repository = Path.cwd().resolve(), paths.repository()
    if path.is_absolute() or here == repository:
        return
    source = repository / path
    for file in [source] if source.is_file() else sorted(source.rglob("*")):
        target = here / file.relative_to(repository)
        if target.exists() or not file.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), target)
        except OSError:
            shutil.copy2(file, target)
