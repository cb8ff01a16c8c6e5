"""Where runs are kept: at MLFLOW_TRACKING_URI, or in the project's own SQLite store; and in which experiment."""

import os
from pathlib import Path

from filelock import FileLock

from layershap.torchvision_guard import torchvision  # noqa: F401  isort: skip

from mlflow.entities import Experiment
from mlflow.tracking import MlflowClient

from layershap.tracking.privacy import hide_secrets
from layershap.workspace import paths
from layershap.workspace.errors import TrackingError

EXPERIMENT = "layershap"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's pages for training, not for chats


def spool_root() -> Path:
    """Return the folder of what could not be sent; it outlives a temporary experiment."""
    return paths.repository() / paths.SPOOL


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the project's own SQLite store, made on first use."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    store = paths.repository() / paths.STORE
    if not store.exists():
        _create_store(store)
    return f"sqlite:///{store}"


def connect() -> MlflowClient:
    """Return a client of the store."""
    return MlflowClient(tracking_uri())


def address() -> str:
    """Return the store's address as it may be shown."""
    return hide_secrets(os.environ.get("MLFLOW_TRACKING_URI", paths.STORE.as_posix()))


def _create_store(store: Path) -> None:
    """Make the store under another name and rename it: a kill or a second process never leaves half of one."""
    with FileLock(f"{store}.lock"):
        if store.exists():
            return
        partial = store.with_name(store.name + ".partial")
        partial.unlink(missing_ok=True)
        client = MlflowClient(f"sqlite:///{partial}")
        location = (store.parent / paths.ARTIFACTS).as_uri()
        client.create_experiment(EXPERIMENT, artifact_location=location, tags=EXPERIMENT_TAGS)
        partial.replace(store)


def experiment_id(client: MlflowClient) -> str:
    """Return the experiment that runs belong to: MLFLOW_EXPERIMENT_ID, or the one of MLFLOW_EXPERIMENT_NAME, made here.

    Raises TrackingError where it was deleted.
    """
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        experiment: Experiment | None = client.get_experiment(given)
    else:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            local = not os.environ.get("MLFLOW_TRACKING_URI")
            location = (paths.repository() / paths.ARTIFACTS).as_uri() if local else None
            return str(client.create_experiment(name, location, EXPERIMENT_TAGS))
    assert experiment is not None
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {experiment.name} was deleted; restore it in the UI or by 'mlflow experiments restore "
            f"-x {experiment.experiment_id}', or set MLFLOW_EXPERIMENT_NAME to another"
        )
    return str(experiment.experiment_id)
