"""What dvc.lock says of the files here, and what differs from it: read without DVC, which takes seconds to load."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from layershap.workspace import paths
from layershap.workspace.files import file_digest

LARGEST = 256 * 2**20  # bytes of one dependency; of a larger one number and size of the files are compared
# what was made from other things that are compared, and is of hundreds of megabytes
DERIVED = (paths.FEATURES.as_posix(), paths.EXPLANATIONS.as_posix(), paths.REPORTS.as_posix())
LATER = ("report", "record")  # stages after the verdict
AGAIN = "run 'dvc repro'"


def locked_stages() -> dict[str, Any]:
    """Return the stages of dvc.lock by name; none where there is no such file, or it cannot be read."""
    try:
        stages = YAML(typ="safe").load(paths.DVC_LOCK)["stages"]
        return {str(name): dict(stage) for name, stage in stages.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError, YAMLError):
        return {}


def digest_of(place: Path) -> str:
    """Return DVC's digest of a file: as it is here, else as dvc.lock has it; empty where neither has it."""
    if place.is_file():
        return file_digest(place, "md5")
    outs = [out for stage in locked_stages().values() for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out["path"] == place.as_posix()), "")


def differences(settings: Mapping[str, Any], pipeline: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that is not as dvc.lock has it.

    `settings`: the content of params.yaml; `pipeline`: the stages of dvc.yaml. Compared are the stages themselves,
    every setting that one reads, and the digest of every file that is here: code, data, metrics, tables, baseline.
    Whatever is not here (data in a fresh clone) is left, but for what is kept in git.
    """
    locked = locked_stages()
    if not locked:
        return [f"{paths.DVC_LOCK} is missing or cannot be read: nothing says where the numbers come from; {AGAIN}"]
    try:
        found = list(_stage_differences(locked, pipeline, settings))
        found += _setting_differences(locked, settings)
        found += _file_differences(locked, pipeline)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        # an edit that leaves valid YAML of another shape
        return [f"{paths.DVC_YAML} or {paths.DVC_LOCK} is not as DVC writes it ({error}); restore it, or {AGAIN}"]
    return list(dict.fromkeys(found))


def _stage_differences(
    locked: Mapping[str, Any], pipeline: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[str]:
    for name, stage in pipeline.items():
        if name in LATER:
            continue
        if name not in locked:
            yield f"stage {name} has never run; {AGAIN}"
            continue
        known = locked[name]
        if known.get("cmd") != stage["cmd"]:
            yield f"the command of stage {name} is another than when it ran; {AGAIN}"
        for kind in ("deps", "outs"):
            wanted = {_filled(path, settings) for path in _listed(stage, kind)}
            there = {str(item["path"]) for item in known.get(kind, [])}
            if wanted != there:
                other = ", ".join(sorted(wanted ^ there))
                yield f"the {kind} of stage {name} are others than when it ran ({other}); {AGAIN}"
        wanted = set(stage.get("params", []))
        there = set(known.get("params", {}).get(paths.PARAMS.name, {}))
        if wanted != there:
            yield f"stage {name} reads other settings than when it ran ({', '.join(sorted(wanted ^ there))}); {AGAIN}"


def _listed(stage: Mapping[str, Any], kind: str) -> Iterator[str]:
    items = list(stage.get(kind, []))
    if kind == "outs":
        items += stage.get("metrics", [])
    for item in items:
        yield str(next(iter(item)) if isinstance(item, Mapping) else item)


def _filled(path: str, settings: Mapping[str, Any]) -> str:
    """Return a path of dvc.yaml with the setting that it names."""
    if path.startswith("${"):
        section, _, key = path[2:-1].partition(".")
        return str(settings.get(section, {}).get(key))
    return path


def _setting_differences(locked: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    for stage in locked.values():
        for name, value in stage.get("params", {}).get(paths.PARAMS.name, {}).items():
            section, _, key = name.partition(".")
            now = settings.get(section, {}).get(key)
            if now != value:  # as DVC compares
                yield f"{paths.PARAMS}: {name} is {now!r}, and was {value!r} when the model was made; {AGAIN}"


def _file_differences(locked: Mapping[str, Any], pipeline: Mapping[str, Any]) -> Iterator[str]:
    in_git = {
        str(next(iter(item)))
        for stage in pipeline.values()
        for item in [*stage.get("outs", []), *stage.get("metrics", [])]
        if isinstance(item, Mapping) and not next(iter(item.values())).get("cache", True)
    }
    folders: dict[str, str] = {}  # a folder that many stages read is read once
    changed: dict[str, list[str]] = {}
    for name, stage in locked.items():
        if name in LATER:
            continue
        for item in [*stage.get("deps", []), *stage.get("outs", [])]:
            path = str(item["path"])
            if path in DERIVED:
                continue
            place = Path(path)
            if not place.exists():
                if path in in_git or path.startswith("src/") or path == paths.BASELINE.parent.as_posix():
                    yield f"{path} is missing; restore it, or {AGAIN}"
            elif not as_recorded(place, item, folders):
                changed.setdefault(path, []).append(name)
    for path, stages in changed.items():
        which = f"stage {stages[0]}" if len(stages) == 1 else f"stages {', '.join(stages)}"
        yield f"{path} is not as {which} had it; restore it, or {AGAIN}"


def as_recorded(place: Path, item: Mapping[str, Any], folders: dict[str, str]) -> bool:
    """Return whether a file or folder is what an entry of dvc.lock says: path, md5, size, and nfiles of a folder.

    `folders`: digests of folders that are known already, by path.
    """
    if not place.is_dir():
        return place.stat().st_size == item.get("size") and file_digest(place, "md5") == item.get("md5")
    key = place.as_posix()
    if key not in folders:
        files = list(_files(place))
        size = sum((place / name).stat().st_size for name in files)
        digest = folder_digest(place, files) if size <= LARGEST else ""
        folders[key] = f"{len(files)} {size} {digest}"
    known = item.get("md5") if int(item.get("size", 0)) <= LARGEST else ""
    return folders[key] == f"{item.get('nfiles')} {item.get('size')} {known}"


def folder_digest(place: Path, files: Iterable[str]) -> str:
    """Return DVC's digest of a folder: of the list of its files' digests and names, by name."""
    names = sorted(files, key=lambda name: name.split("/"))
    entries = [{"md5": file_digest(place / name, "md5"), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _files(place: Path) -> Iterator[str]:
    """Yield the files below a folder as DVC sees them, without what .dvcignore names."""
    lines = paths.DVC_IGNORE.read_text(encoding="utf-8").splitlines() if paths.DVC_IGNORE.exists() else []
    ignored = GitIgnoreSpec.from_lines(lines)
    for file in place.rglob("*"):
        if file.is_file() and not ignored.match_file(file.as_posix()):
            yield file.relative_to(place).as_posix()
