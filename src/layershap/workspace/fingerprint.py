"""A name for a piece of work that can be interrupted: what it depends on, so that nothing else's remains are used."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


def fingerprint(settings: Mapping[str, Any], files: Iterable[Path], rooms: Sequence[str]) -> str:
    """Return a digest of settings, files, and the code of `rooms` (folders and files of the package)."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        digest.update(path.read_bytes())
    digest.update(code_digest(rooms).encode())
    return digest.hexdigest()[:16]


def code_digest(rooms: Sequence[str]) -> str:
    """Return a short digest of the code of `rooms` (folders and files of the package)."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in code_files(PACKAGE / room):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def code_files(place: Path) -> list[Path]:
    """Return the Python files of a folder in order, or the file itself."""
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]
