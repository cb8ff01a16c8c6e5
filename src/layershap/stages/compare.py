"""The command compare: two models side by side on one page, kept with the run of the second."""

import difflib
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layershap.judging.paired import aligned, paired
from layershap.reporting.comparison.facts import facts, predictions
from layershap.reporting.comparison.page import page
from layershap.reporting.comparison.summary import summary
from layershap.workspace import paths
from layershap.workspace.compared import git
from layershap.workspace.compared.here import WORKSPACE, read_workspace
from layershap.workspace.compared.revision import read_revision
from layershap.workspace.compared.side import Side
from layershap.workspace.errors import InputError, TrackingError
from layershap.workspace.files import write_text
from layershap.workspace.params import load_params
from layershap.workspace.quiet import quiet_libraries

MOST_NEAR = 4


def run(
    first: str | None, second: str, out: Path | None, record: bool, markdown: Path | None = None, pictures: str = ""
) -> None:
    """Write the page that compares `first` (None: the registered champion) with `second`, to `out`.

    `record`: keep it as compare.html with the MLflow run of `second`, where that has one. `markdown`: where to write
    what it says without its pictures; `pictures`: an address that this names for them.
    """
    quiet_libraries()
    target = out or paths.COMPARISON
    with tempfile.TemporaryDirectory() as name:
        sides = [
            resolve(asked, Path(name) / letter, with_model=record and letter == "B")
            for asked, letter in ((first or champion(), "A"), (second, "B"))
        ]
        found = compared(*sides)
        write_text(target, page(found))
        print(target)
        if markdown:
            write_text(markdown, summary(found, pictures))
            print(markdown)
        if record:
            from layershap.tracking.compared import attach

            kept = attach(target, sides[1])
            if kept is None:
                print(f"{second} has no MLflow run to keep it with")
            else:
                print(f"kept with run {kept.run_id}" if kept.reachable else "kept for 'layershap sync'")


def compared(first: Side, second: Side) -> dict[str, Any]:
    """Return all that is said of two sides."""
    one, two = predictions(first), predictions(second)
    tables = aligned(one, two) if one is not None and two is not None else None
    return facts(first, second, tables, asdict(paired(*tables)) if tables else None)


def champion() -> str:
    """Return how the champion of the workspace's data is asked for."""
    from layershap.tracking.compared import champion_of
    from layershap.tracking.model import registered_name

    return champion_of(registered_name(load_params()))


def resolve(asked: str, folder: Path, with_model: bool = False) -> Side:
    """Return what is asked for: the workspace, models:/..., a run's id, an experiment, a git revision, or a run's name.

    In this order. `folder`: for its files. `with_model`: with the digest of its weights, by which its run is found.
    Raises InputError where there is none, with names that are near; TrackingError where MLflow is needed and away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if asked == WORKSPACE:
        return read_workspace(with_model)
    if asked.startswith("models:/"):
        from layershap.tracking.compared import find_model, read_run

        registered, facts = find_model(asked)
        return read_run("model", asked, registered, folder, facts)
    for kind, find in (("experiment", git.experiment), ("revision", git.commit)):
        if found := find(asked):
            return read_revision(kind, asked, found, folder, with_model)
    from layershap.tracking.compared import find_run, known_names, read_run

    away = ""
    try:
        if run := find_run(asked):
            return read_run("run", asked, run, folder)
    except TrackingError as error:
        away = f"; {error}"
    known = [WORKSPACE, *git.names(), *known_names()]
    near = difflib.get_close_matches(asked, dict.fromkeys(known), MOST_NEAR, 0.5)
    listed = f"; near: {', '.join(near)}" if near else ""
    raise InputError(f"no run, experiment or git revision is called {asked!r}{listed}{away}")
