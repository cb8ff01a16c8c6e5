"""Which modules of the package a module imports, directly and through others, read from the source.

python tests/imports.py      # write the modules that each stage imports into dvc.yaml (make deps)
"""

import ast
from pathlib import Path

from ruamel.yaml import YAML

SOURCE = Path(__file__).parents[1] / "src"
PIPELINES = (SOURCE.parent / "dvc.yaml", SOURCE.parent / "study" / "dvc.yaml")
LOADED_BY_MLFLOW = {"train": "layershap.serving.served_model"}  # not imported, but logged with the model


def module_file(name: str) -> Path | None:
    """Return the file of a module or package under src/, if it is one of ours."""
    base = SOURCE.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports, names inside `from x import y` included as x.y."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules_used(name: str) -> set[str]:
    """Return the files, relative to the repository, of `name` and of all of ours that it imports."""
    found: set[Path] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        path = module_file(current)
        if path is None or path in found:
            continue
        found.add(path)
        waiting += sorted(imported_names(path))
        waiting += [current.rpartition(".")[0]] if "." in current else []
    return {path.relative_to(SOURCE.parent).as_posix() for path in found}


def modules_of_stage(stage: str) -> set[str]:
    """Return the files that the outcome of a stage depends on."""
    found = modules_used(f"layershap.stages.{stage}")
    return found | modules_used(LOADED_BY_MLFLOW[stage]) if stage in LOADED_BY_MLFLOW else found


def write_dependencies(pipeline: Path) -> None:
    """Replace the dependencies below src/ of every stage of a dvc.yaml by the modules that it imports."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    content = yaml.load(pipeline)
    for name, stage in content["stages"].items():
        others = [path for path in stage["deps"] if not path.endswith(".py")]
        stage["deps"] = others + sorted(modules_of_stage(name))
    yaml.dump(content, pipeline)


if __name__ == "__main__":
    for pipeline in PIPELINES:
        write_dependencies(pipeline)
