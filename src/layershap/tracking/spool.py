"""What could not be sent to the tracking server, kept on disk in order until it can. Knows nothing of MLflow."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from layershap.workspace.files import read_json, remove, replacing, write_json

PATH_KEY = "__path__"
NUMBERED = "[0-9]" * 6


@dataclass(frozen=True)
class Entry:
    """One call to make again: the name of a method and its arguments."""

    name: str
    arguments: dict[str, Any]
    folder: Path

    def remove(self) -> None:
        """Forget the call once it was made: at once, whatever a kill leaves of its files."""
        remove(self.folder.replace(self.folder.with_suffix(".sent")))


class Spool:
    """The calls of one run, in a folder: each a folder with call.json and copies of the files it needs.

    An entry appears by rename: after a kill there is a whole one or none. The first entry says which run the others
    belong to (`opening`: its name and arguments); it is written before any other and leaves last, under a lock, so that
    what is appended while others are being sent is never lost.
    """

    def __init__(self, folder: Path, opening: tuple[str, dict[str, Any]] | None = None):
        self.folder = folder
        self.opening = opening

    @classmethod
    def reopen(cls, folder: Path) -> "Spool":
        """Return a spool that was begun before."""
        first = next(cls(folder).entries())
        return cls(folder, (first.name, first.arguments))

    def open(self, name: str, arguments: dict[str, Any]) -> None:
        """Say which run the calls belong to."""
        self.opening = (name, arguments)
        with self._locked():
            self._write_opening()

    def append(self, name: str, arguments: dict[str, Any]) -> None:
        """Keep a call; paths among the arguments are copied, for the files may change before they are sent."""
        with self._locked():
            self._write_opening()
            self._write(name, arguments)

    def _write_opening(self) -> None:
        if self.opening and not next(self.folder.glob(NUMBERED), None):
            self._write(*self.opening)

    def _write(self, name: str, arguments: dict[str, Any]) -> None:
        number = max((int(path.name) for path in self.folder.glob(NUMBERED)), default=0) + 1
        with replacing(self.folder / f"{number:06d}") as partial:
            partial.mkdir()
            plain = {key: _keep(value, partial / key) for key, value in arguments.items()}
            write_json(partial / "call.json", {"name": name, "arguments": plain})

    def entries(self) -> Iterator[Entry]:
        """Yield what is kept, the oldest first; what is appended meanwhile too."""
        seen: set[Path] = set()
        while new := sorted(set(self.folder.glob(NUMBERED)) - seen):
            seen.add(new[0])
            content = read_json(new[0] / "call.json")
            arguments = {key: _restore(value, new[0]) for key, value in content["arguments"].items()}
            yield Entry(content["name"], arguments, new[0])

    def close(self) -> bool:
        """Forget the run, whose other calls were made; return False where one was appended meanwhile."""
        with self._locked():
            left = list(self.entries())
            if len(left) > 1:
                return False
            for entry in left:
                entry.remove()
            remove(self.folder)
        return True

    def _locked(self) -> FileLock:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.parent.with_name(self.folder.parent.name + ".lock"))


def spools(root: Path) -> list[Path]:
    """Return the folders below `root` that hold calls, the oldest first."""
    return sorted(folder for folder in root.glob("*") if next(folder.glob(NUMBERED), None))


def _keep(value: Any, target: Path) -> Any:
    if isinstance(value, dict) and any(isinstance(item, Path) for item in value.values()):
        return {key: _keep(item, target / str(number)) for number, (key, item) in enumerate(value.items())}
    if not isinstance(value, Path):
        json.dumps(value)  # what cannot be kept is an error now, not at the next sync
        return value
    copy = target / value.name
    copy.parent.mkdir(parents=True)
    if value.is_dir():
        # file by file: copytree's error does not say that the disk is full
        copy.mkdir()
        for file in sorted(value.rglob("*")):
            target = copy / file.relative_to(value)
            target.mkdir(parents=True) if file.is_dir() else shutil.copy2(file, target)
    else:
        shutil.copy2(value, copy)
    return {PATH_KEY: copy.relative_to(_entry(copy)).as_posix()}


def _entry(path: Path) -> Path:
    """Return the folder of the entry that holds `path`: the one below which call.json will stand."""
    return next(folder for folder in path.parents if folder.name.endswith(".partial"))


def _restore(value: Any, folder: Path) -> Any:
    if not isinstance(value, dict):
        return value
    if PATH_KEY in value:
        return folder / value[PATH_KEY]
    return {key: _restore(item, folder) for key, item in value.items()}
