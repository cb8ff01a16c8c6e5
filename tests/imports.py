"""Which files of the package a module's outcome rests on, read from the source."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def module_file(name: str) -> Path | None:
    """Return the file of a module or package under src/, if it is one of ours."""
    base = SOURCE.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports, names inside `from x import y` included as x.y; no types."""
    names = set()
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            of_package = {f"{node.module}.{alias.name}" for alias in node.names}
            # the package itself where a name of its own is taken, not only modules out of it
            names |= of_package | ({node.module} if any(module_file(name) is None for name in of_package) else set())
    return names


def modules_used(name: str) -> set[str]:
    """Return the files, relative to the package, of `name` and of all of ours that it imports."""
    found: set[Path] = set()
    waiting = [name]
    while waiting:
        path = module_file(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += sorted(imported_names(path))
    return {path.relative_to(SOURCE / "layershap").as_posix() for path in found}
