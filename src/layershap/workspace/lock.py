"""One stage at a time in a folder: killing `dvc` leaves its stage running, and the next `dvc repro` starts a second."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from layershap.workspace import paths, ranks
from layershap.workspace.errors import BusyError
from layershap.workspace.files import read_json, write_json


@contextmanager
def only_one(stage: str) -> Iterator[None]:
    """Hold the folder's lock, by the first of the stage's processes.

    Raises BusyError naming the stage and process that holds it. A kill releases it.
    """
    if not ranks.first():
        yield
        return
    paths.LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(paths.LOCK, timeout=0):
            write_json(paths.RUNNING, {"stage": stage, "process": os.getpid()})
            yield
    except Timeout:
        raise BusyError(f"{_holder()} in this folder; wait for it, or end it") from None


def _holder() -> str:
    try:
        found = read_json(paths.RUNNING)
        return f"stage {found['stage']} is running as process {found['process']}"
    except (OSError, ValueError, KeyError):
        return "another stage is running"
