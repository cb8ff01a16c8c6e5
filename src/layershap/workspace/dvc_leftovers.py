"""What a kill or a full disk leaves half-written of DVC's own files: with it, DVC refuses to start ever after."""

import json
import re
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from layershap.workspace import paths

DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
NOTHING = "0" * 32
CONFLICT = b"<<<<<<<"  # a merge that somebody has to settle


def mend_leftovers() -> list[str]:
    """Set aside what DVC could not read, and return a sentence for each file.

    DVC's table of locks is only of what runs now. Without dvc.lock, DVC finds what each stage made in its cache again.
    """
    done = []
    try:
        json.loads(paths.DVC_RWLOCK.read_text(encoding="utf-8"))
    except ValueError:
        paths.DVC_RWLOCK.unlink()
        done.append(f"{paths.DVC_RWLOCK} was half-written and is removed")
    except FileNotFoundError:
        pass
    if _cut(paths.DVC_LOCK):
        paths.BROKEN_DVC_LOCK.parent.mkdir(parents=True, exist_ok=True)
        paths.DVC_LOCK.replace(paths.BROKEN_DVC_LOCK)
        done.append(
            f"{paths.DVC_LOCK} was half-written and is now {paths.BROKEN_DVC_LOCK}; it is made again from DVC's cache"
        )
    return done


def _cut(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    try:
        found = COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content))
    except (Invalid, YAMLError, ValueError, TypeError):
        return CONFLICT not in content
    stages = found.get("stages", {}).values()
    entries = [entry for stage in stages for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return any(
        entry.get("hash", "md5") != "md5" or not DIGEST.fullmatch(str(entry.get("md5", NOTHING))) for entry in entries
    )
