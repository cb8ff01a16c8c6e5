"""A name for a piece of work that can be interrupted: what it depends on, so that nothing else's remains are used."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def fingerprint(settings: Mapping[str, Any], files: Iterable[Path]) -> str:
    """Return a digest of settings, files, and the package's code."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    code = sorted(Path(__file__).parent.rglob("*.py"))
    for path in [*files, *code]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
