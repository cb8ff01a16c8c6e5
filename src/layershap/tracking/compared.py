"""A run, or the run of a registered model, as one of the two that `layershap compare` sets side by side."""

import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from mlflow.entities import Run as Entity
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from layershap.data.tables import read_table, write_table
from layershap.tracking.model import CHAMPION
from layershap.tracking.names import safe_name
from layershap.tracking.outage import reached, refused
from layershap.tracking.record import ARRAYS_BYTES, HEADLINE
from layershap.tracking.run import CHANGED_TAG, Run
from layershap.tracking.runs import MODEL_TAG, run_of_id, run_with_model
from layershap.workspace import paths
from layershap.workspace.compared.side import MAPS, Side, flat
from layershap.workspace.errors import InputError, TrackingError

MODELS = "models:/"
RUN_ID = re.compile(r"[0-9a-f]{32}")
PAGE = "compare.html"  # the artifact
MOST_LISTED = 5


def champion_of(registered: str) -> str:
    """Return how the champion of a registered model is asked for."""
    return f"{MODELS}{registered}@{CHAMPION}"


def find_model(asked: str) -> tuple[Entity, dict[str, str]]:
    """Return the run of models:/NAME@ALIAS or models:/NAME/VERSION, and what is to be said of that version.

    Raises InputError where there is none, TrackingError where the server is out of reach.
    """
    name, sign, which = asked.removeprefix(MODELS).partition("@")
    if not sign:
        name, _, which = name.rpartition("/")
    with reached() as client:
        try:
            ask = client.get_model_version_by_alias if sign else client.get_model_version
            version = ask(name, which)
        except MlflowException as error:
            if not refused(error):
                raise
            known = ", ".join(_models(client)) or "none"
            way = "; a gate's PASS makes one" if which == CHAMPION else ""
            raise InputError(f"there is no {asked}{way} (registered: {known})") from None
        return client.get_run(str(version.run_id)), {"registered": f"{version.name}, version {version.version}"}


def find_run(asked: str) -> Entity | None:
    """Return the run with this id or name in the store; None without.

    Raises InputError where several have the name or it was deleted, TrackingError where the server is out of reach.
    """
    with reached() as client:
        if RUN_ID.fullmatch(asked):
            try:
                run = client.get_run(asked)
            except MlflowException as error:
                if not refused(error):
                    raise
                return None
            if run.info.lifecycle_stage == "deleted":
                raise InputError(f"the run {asked} was deleted; restore it in the UI")
            return run
        quote = '"' if "'" in asked else "'"
        found = (
            client.search_runs(_experiments(client), f"run_name = {quote}{asked}{quote}") if '"' not in asked else []
        )
    if len(found) > 1:
        listed = ", ".join(f"{run.info.run_id} ({_date(run)})" for run in found[:MOST_LISTED])
        more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
        raise InputError(f"{len(found)} runs are called {asked!r}: give one's id, {listed}{more}")
    return found[0] if found else None


def known_names() -> list[str]:
    """Return the names of runs and models:/ of the store; none where it is out of reach."""
    try:
        with reached() as client:
            runs = client.search_runs(_experiments(client), max_results=200)
            return sorted({run.info.run_name for run in runs} | set(_models(client)))
    except TrackingError:
        return []


def read_run(kind: str, asked: str, run: Entity, folder: Path, facts: Mapping[str, str] | None = None) -> Side:
    """Return what a run holds; its files are copied to `folder`. kind: run or model. Nothing is computed.

    Raises InputError for a run that holds no evaluated model, TrackingError where the server is out of reach.
    """
    data, tags = run.data, run.data.tags
    if "accuracy" not in data.metrics:
        raise InputError(f"the run {run.info.run_id} has no accuracy: it is no run of an evaluated model")
    said = {"run": f"{run.info.run_name} ({run.info.run_id})", **(facts or {}), "date": _date(run)}
    if commit := tags.get("mlflow.source.git.commit"):
        changed = " and changes since" if tags.get("git.dirty") == "true" else ""
        said["commit"] = f"{commit[:10]}{changed}"
    changes = {tag.removeprefix(CHANGED_TAG): value for tag, value in tags.items() if tag.startswith(CHANGED_TAG)}
    settings = {name: "null" if value == "None" else value for name, value in {**data.params, **changes}.items()}
    lacking = []
    with reached() as client:
        there = {file.path for part in _FOLDERS for file in client.list_artifacts(run.info.run_id, part)}

        def bring(artifact: str, target: Path) -> bool:
            if artifact not in there:
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            found = client.download_artifacts(run.info.run_id, artifact, str(folder / "artifacts"))
            Path(found).replace(target)
            return True

        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        if not bring("evaluation/predictions.csv", folder / paths.PREDICTIONS):
            lacking.append(f"{asked} holds no evaluation/predictions.csv: 'layershap record' where it was made adds it")
        _curve(client, run.info.run_id, folder / paths.LEARNING_CURVE)
        arrays = [name for name in sorted(there) if any(name.endswith(f"_{kind}.npy") for kind in MAPS)]
        if arrays and bring("explanations/images.csv", folder / paths.EXPLAINED_IMAGES):
            for name in arrays:
                bring(name, folder / paths.EXPLAINED_ARRAYS / Path(name).name)
        else:
            lacking.append(
                f"{asked} holds no arrays of heatmaps (above {ARRAYS_BYTES // 10**6} MB in all they are in DVC's "
                f"cache alone): give its DVC experiment or git revision instead"
            )
        verdict = tags.get("layershap.gate", "")
    numbers = _numbers(data.metrics, folder / paths.PREDICTIONS)
    return Side(
        kind, asked, said, settings, numbers, verdict, folder, tuple(lacking), tags.get(MODEL_TAG, ""), run.info.run_id
    )


_FOLDERS = ("evaluation", "explanations", "explanations/arrays")


def attach(page: Path, side: Side) -> Run | None:
    """Keep the page with the run of the model, and return that run; None where it has none.

    Where the server is out of reach it is kept for `layershap sync`.
    """
    if not side.model and not side.run_id:
        return None
    run = run_of_id(side.run_id) if side.run_id else run_with_model(side.model)
    if run is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PAGE
        copy.write_bytes(page.read_bytes())
        run.log_artifacts(copy)
    return run


def _numbers(metrics: Mapping[str, float], predictions: Path) -> dict[str, float]:
    """Return a run's metrics under the names of the files they came from; class names as they were."""
    classes = [name[2:] for name in read_table(predictions) if name.startswith("p_")] if predictions.exists() else []
    own = {safe_name(name): name for name in classes}
    found = {}
    for name, value in metrics.items():
        group, _, rest = name.partition("/")
        name = rest if group == "test" else name
        if name in HEADLINE or group in ("test", "train", "explain"):
            found["/".join(own.get(part, part) if "per_class/" in name else part for part in name.split("/"))] = value
    return flat(found)


def _curve(client: MlflowClient, run_id: str, target: Path) -> None:
    """Write the learning curve from the run's history, in the form of plots/learning_curve.csv, if it has one."""
    columns = {}
    for name in ("train_accuracy", "train_loss", "val_accuracy", "val_loss"):
        points = client.get_metric_history(run_id, name)
        newest = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
        columns[name] = pd.Series(newest)
    table = pd.DataFrame(columns).sort_index()
    if len(table):
        table.insert(0, "epoch", table.index - 1)
        write_table(target, table)


def _experiments(client: MlflowClient) -> list[str]:
    return [experiment.experiment_id for experiment in client.search_experiments()]


def _models(client: MlflowClient) -> list[str]:
    """Return what registered models and their aliases are asked for by."""
    found = []
    for model in client.search_registered_models():
        found += [f"{MODELS}{model.name}@{alias}" for alias in model.aliases]
        found += [f"{MODELS}{model.name}/{version.version}" for version in model.latest_versions]
    return found


def _date(run: Entity) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
