"""Names as MLflow takes them: letters, digits, _ - . space : / alone.

Everything else becomes its code point between colons, and a colon itself does: `cats & dogs` is `cats :26: dogs`.
Two names never become one. What is too long for MLflow is cut and ends in a digest of the whole.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 100  # characters of one part of a name; MLflow's limit of a whole one is 250
REFUSED = re.compile(r"[^\w\-. ]", flags=re.ASCII)


def safe_name(name: str) -> str:
    """Return one part of a metric's or a picture's name, without / in it."""
    safe = REFUSED.sub(lambda found: f":{ord(found[0]):x}:", name)
    if safe.strip(".") != safe or not safe.strip() or safe != safe.strip():
        # MLflow takes names for paths: no empty part, no . or .. as one
        safe = "".join(f":{ord(letter):x}:" if letter in ". " else letter for letter in safe) or "::"
    if len(safe) > LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        safe = f"{safe[: LONGEST - 15]}::{digest}:"
    return safe


def picture_key(name: str) -> str:
    """Return the name of a picture in the UI's image grid, which takes no : either."""
    plain = REFUSED.sub("_", name)
    return plain if plain == name else f"{plain} {hashlib.sha256(name.encode()).hexdigest()[:6]}"


def flatten(values: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    """Return nested values under joined, safe names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, separator, f"{prefix}{safe_name(key)}{separator}")
        else:
            flat[f"{prefix}{safe_name(key)}"] = value
    return flat


def changed_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names that MLflow shows differently, by what it shows."""
    return {safe_name(name): name for name in names if safe_name(name) != name}
