"""MLflow: one run per trained model, joined by the stages after train. The only module that imports mlflow."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from layershap.torchvision_guard import torchvision  # noqa: F401  isort: skip

import mlflow
import mlflow.pytorch
import numpy as np
from filelock import FileLock
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
from torch import nn

from layershap import paths

EXPERIMENT = "layershap"
MODEL_TAG = "layershap.model"


def store_root() -> Path:
    """Return the repository's folder, also from inside a temporary copy that `dvc exp run --temp` made in it."""
    root = paths.project_root().resolve()
    for folder in root.parents:
        if folder.name == ".dvc" and "exps" in root.parts:
            return folder.parent
    return root


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the project's own SQLite store, made on first use."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    store = store_root() / paths.STORE
    if not store.exists():
        _create_store(store)
    return f"sqlite:///{store}"


def _create_store(store: Path) -> None:
    """Make the store under another name and rename it: a kill or a second process never leaves half of one."""
    with FileLock(f"{store}.lock"):
        if store.exists():
            return
        partial = store.with_name(store.name + ".partial")
        partial.unlink(missing_ok=True)
        client = MlflowClient(f"sqlite:///{partial}")
        client.create_experiment(EXPERIMENT, artifact_location=(store.parent / paths.ARTIFACTS).as_uri())
        partial.replace(store)


class Run:
    """An MLflow run to write to."""

    def __init__(self, client: MlflowClient, run_id: str, owned: bool):
        self.client = client
        self.run_id = run_id
        self.owned = owned
        self.started = int(client.get_run(run_id).info.start_time)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log nested settings under dotted names; what is there already is left."""
        known = self.client.get_run(self.run_id).data.params
        flat = {key: value for key, value in _flatten(params).items() if key not in known}
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in flat.items()])

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log every number of nested metrics under dotted names; at a step, a name is logged once."""
        numbers = {key: value for key, value in _flatten(metrics).items() if isinstance(value, (int, float))}
        # a time stamp that belongs to the step: logging the same again changes nothing
        batch = [Metric(key, float(value), self.started + 1000 * step, step) for key, value in numbers.items()]
        self.client.log_batch(self.run_id, metrics=batch)

    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or all files of a folder to the run."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Write a picture to the run."""
        self.client.log_figure(self.run_id, figure, name)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def log_model(self, model: nn.Module, example: np.ndarray) -> None:
        """Log the model as images [N, 3, H, W] in 0..1 to logits; `example`: two images."""
        mlflow.set_tracking_uri(tracking_uri())
        requirements = [f"{name}=={_version(name)}" for name in ("torch", "torchvision", "numpy")]
        # the run's id alone: start_run refuses an experiment beside it
        with mlflow.start_run(run_id=self.run_id):
            mlflow.pytorch.log_model(model, name="model", input_example=example, pip_requirements=requirements)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run, unless somebody else opened it."""
        if self.owned:
            self.client.set_terminated(self.run_id, status)


def open_run(name: str, memory: Path) -> Run:
    """Open the run of a training, or the one that was interrupted, whose id stands in the file `memory`.

    Where MLFLOW_RUN_ID is set (by `mlflow run`), that run is used and left open.
    """
    client = MlflowClient(tracking_uri())
    if given := os.environ.get("MLFLOW_RUN_ID"):
        return Run(client, given, owned=False)
    if memory.exists():
        run_id = memory.read_text().strip()
        client.update_run(run_id, "RUNNING")
        return Run(client, run_id, owned=True)
    run = client.create_run(_experiment(client), tags=_tags(), run_name=name)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(run.info.run_id)
    return Run(client, run.info.run_id, owned=True)


def join_run(model: str) -> Run:
    """Return the run of the model with this digest, to write more to it; a new one tagged detached if there is none."""
    client = MlflowClient(tracking_uri())
    if given := os.environ.get("MLFLOW_RUN_ID"):
        return Run(client, given, owned=False)
    experiment = _experiment(client)
    found = client.search_runs([experiment], f"tags.`{MODEL_TAG}` = '{model}'", max_results=1)
    if found:
        return Run(client, found[0].info.run_id, owned=False)
    tags = {**_tags(), MODEL_TAG: model, "layershap.detached": "true"}
    run = Run(client, client.create_run(experiment, tags=tags, run_name="detached").info.run_id, owned=True)
    run.finish()
    return run


def _experiment(client: MlflowClient) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    return client.create_experiment(name, (store_root() / paths.ARTIFACTS).as_uri() if local else None)


def _tags() -> dict[str, str]:
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    tags = {"mlflow.source.name": "layershap"}
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(status)).lower()}
    return tags


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package).partition("+")[0]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def serve_ui(port: int) -> None:
    """Run the MLflow UI on 127.0.0.1 over the project's store, until interrupted."""
    print(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    arguments = ["--backend-store-uri", tracking_uri(), "--host", "127.0.0.1", "--port", str(port)]
    subprocess.run([sys.executable, "-m", "mlflow", "ui", *arguments], check=False)
