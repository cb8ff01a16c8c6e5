"""MLflow: one run per trained model, joined by the stages after train.

The only module that imports mlflow, beside served_model.py, which MLflow itself loads.
"""

import base64
import inspect
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# a server that hangs costs twice this, once
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from layershap.torchvision_guard import torchvision  # noqa: F401  isort: skip

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.types.schema import AnyType, ColSpec, DataType, Map, ParamSchema, ParamSpec, Schema
from PIL import Image
from requests import RequestException

from layershap import lineage, paths
from layershap.errors import TrackingError
from layershap.spool import Spool

EXPERIMENT = "layershap"
MODEL_TAG = "layershap.model"
EXPLANATIONS_TAG = "layershap.explanations"
CHAMPION = "champion"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the UI's pages for training, not for chats
KEY_TAG = "layershap.key"
CREATE, JOIN, JOIN_MODEL = "create", "join", "join_model"  # the first entry of a spool: which run it belongs to
UNREACHABLE = (MlflowException, RequestException, OSError)
REFUSED = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")  # the server's answer, not a fault
SYNC_TIMEOUT = 60  # seconds
# what a served model needs beside the package's own code, which is kept with it
SERVED_PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "shap", "timm", "torch", "torchvision")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(AnyType(), "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "class"),
            ColSpec(DataType.double, "probability"),
            ColSpec(Map(DataType.double), "probabilities"),
            ColSpec(AnyType(), "explanation", required=False),
        ]
    ),
    params=ParamSchema(
        [
            ParamSpec("layers", DataType.string, ""),
            ParamSpec("path", DataType.string, "image"),
            ParamSpec("segments", DataType.long, 4),
            ParamSpec("output", DataType.string, "margin"),
        ]
    ),
)


def store_root() -> Path:
    """Return the repository's folder, also from inside a temporary copy that `dvc exp run --temp` made in it."""
    root = paths.project_root().resolve()
    for folder in root.parents:
        if folder.name == ".dvc" and "exps" in root.parts:
            return folder.parent
    return root


def spool_root() -> Path:
    """Return the folder of what could not be sent; it outlives a temporary experiment."""
    return store_root() / paths.SPOOL


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
        location = (store.parent / paths.ARTIFACTS).as_uri()
        client.create_experiment(EXPERIMENT, artifact_location=location, tags=EXPERIMENT_TAGS)
        partial.replace(store)


def _spooled(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method of Run keep its call on disk where it cannot be sent; arguments are plain values and paths."""

    @wraps(method)
    def write(self: "Run", *values: Any, **named: Any) -> None:
        arguments = inspect.signature(method).bind(self, *values, **named).arguments
        del arguments["self"]
        if self.reachable:
            try:
                return method(self, **arguments)
            except UNREACHABLE as error:
                self.give_up(error)
        self.spool.append(method.__name__, dict(arguments))
        return None

    return write


class Run:
    """An MLflow run to write to. Writing never fails: what cannot be sent is kept for `layershap sync`.

    Every call can be made twice without harm, for an answer can get lost after the call was done.
    """

    def __init__(self, spool: Spool, run_id: str = "", owned: bool = False):
        """`run_id`: empty where the run cannot be reached."""
        self.spool = spool
        self.run_id = run_id
        self.owned = owned
        self.reachable = bool(run_id)
        self.client = MlflowClient(tracking_uri()) if run_id else None
        self.started = int(self.server.get_run(run_id).info.start_time) if run_id else 0

    @property
    def server(self) -> MlflowClient:
        """The client of a run that can be reached."""
        assert self.client is not None
        return self.client

    def give_up(self, error: Exception) -> None:
        """Send nothing more in this process: a server that hangs costs its time-out once."""
        self.reachable = False
        self.spool.append(JOIN, {"run_id": self.run_id})
        _tell(error)

    @_spooled
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log nested settings under dotted names; what is there already is left."""
        known = self.server.get_run(self.run_id).data.params
        flat = {key: value for key, value in _flatten(params, ".").items() if key not in known}
        self.server.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in flat.items()])

    @_spooled
    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log every number of nested metrics under names with / between, by which the UI makes groups of charts.

        At a step, a name is logged once.
        """
        numbers = {key: value for key, value in _flatten(metrics, "/").items() if isinstance(value, (int, float))}
        # a time stamp that belongs to the step: logging the same again changes nothing
        batch = [Metric(key, float(value), self.started + 1000 * step, step) for key, value in numbers.items()]
        self.server.log_batch(self.run_id, metrics=batch)

    @_spooled
    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or all files of a folder to the run."""
        if path.is_dir():
            self.server.log_artifacts(self.run_id, str(path), folder)
        else:
            self.server.log_artifact(self.run_id, str(path), folder)

    def log_picture(self, content: bytes, name: str) -> None:
        """Write the bytes of a PNG file to the run."""
        self.log_encoded(base64.b64encode(content).decode(), name)

    @_spooled
    def log_encoded(self, content: str, name: str) -> None:
        """Write a file, given in base64, to the run."""
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / file
            path.write_bytes(base64.b64decode(content))
            self.server.log_artifact(self.run_id, str(path), folder or None)

    @_spooled
    def log_text(self, text: str, name: str) -> None:
        """Write a text file to the run."""
        self.server.log_text(self.run_id, text, name)

    @_spooled
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items():
            self.server.set_tag(self.run_id, key, value)

    def describe(self, text: str) -> None:
        """Show Markdown as the run's description."""
        self.set_tags({"mlflow.note.content": text})

    @_spooled
    def log_images(self, images: Mapping[str, Path], digest: str) -> None:
        """Show pictures in the UI's image grid under stable keys; the same pictures again (`digest`) add nothing.

        The step counts how often this run got new ones: the UI keeps every state.
        """
        known = self.server.get_run(self.run_id).data.tags.get(EXPLANATIONS_TAG, "")
        seen = known.split()
        if digest in seen:
            return
        # MLflow names the files at random: after a kill here, what came through must not come twice
        there = [Path(file.path).name for file in self.server.list_artifacts(self.run_id, "images")]
        for name, path in images.items():
            key = re.sub(r"[^\w\-. ]", "_", name, flags=re.ASCII)  # what MLflow allows
            start = f"{key}+step+{len(seen)}+"
            # the small version comes last
            if not any(file.startswith(start) and file.endswith(".webp") for file in there):
                with Image.open(path) as picture:
                    self.server.log_image(self.run_id, picture.convert("RGB"), key=key, step=len(seen))
        self.server.set_tag(self.run_id, EXPLANATIONS_TAG, f"{known} {digest}".strip())

    def log_dataset(self, table: pd.DataFrame, context: str, name: str, digest: str) -> None:
        """Name the images that the run used (`context`: training, validation, testing) with DVC's digest of them."""
        self.log_table(table.to_csv(index=False), context, name, digest)

    @_spooled
    def log_table(self, table: str, context: str, name: str, digest: str) -> None:
        """Log a data set whose table is given as CSV."""
        frame = pd.read_csv(io.StringIO(table), dtype=str)
        fields = from_pandas(frame, source=paths.RAW.as_posix(), name=name, digest=digest or None).to_dict()
        keys = ("name", "digest", "source_type", "source", "schema", "profile")
        entity = DatasetEntity(**{key: fields[key] for key in keys})
        self.server.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

    @contextmanager
    def system_metrics(self) -> Iterator[None]:
        """Watch processor, memory, disk and network meanwhile, in a thread of its own."""
        if not self.reachable:
            yield
            return
        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
        monitor = SystemMetricsMonitor(
            self.run_id, sampling_interval=5, resume_logging=True, tracking_uri=tracking_uri()
        )
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()
            # a last sample: one that was shorter than the interval has one too
            with suppress(*UNREACHABLE):
                monitor.collect_metrics()
                monitor.publish_metrics(monitor.aggregate_metrics())
                monitor.mlflow_logger.flush()

    @_spooled
    def log_model(self, folder: Path, registered: str, example: Path) -> None:
        """Log the model in `folder` (see predictor.py) and register it as `registered`; `example`: an image file."""
        if self.server.search_model_versions(f"run_id = '{self.run_id}'"):
            return
        mlflow.set_tracking_uri(tracking_uri())
        package = Path(__file__).parent
        requirements = [f"{name}=={version(name).partition('+')[0]}" for name in SERVED_PACKAGES]
        shown = base64.b64encode(example.read_bytes()).decode()
        # the run's id alone: start_run refuses an experiment beside it
        with _active(self.run_id), _without_caches(package) as code:
            mlflow.pyfunc.log_model(
                name="model",
                python_model=str(package / "served_model.py"),
                artifacts={"model": str(folder)},
                code_paths=[str(code)],
                signature=SIGNATURE,
                input_example=pd.DataFrame({"image": [shown]}),
                pip_requirements=requirements,
                registered_model_name=registered,
            )

    @_spooled
    def promote(self) -> None:
        """Make the run's registered model the champion."""
        found = self.server.search_model_versions(f"run_id = '{self.run_id}'")
        if found:
            newest = max(found, key=lambda entry: int(entry.version))
            self.server.set_registered_model_alias(newest.name, CHAMPION, newest.version)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run, unless somebody else opened it."""
        if self.owned:
            self.end(status)

    @_spooled
    def end(self, status: str) -> None:
        """Set the run's status."""
        self.server.set_terminated(self.run_id, status)


def open_run(name: str, memory: Path) -> Run:
    """Open the run of a training, or the one that was interrupted, which the file `memory` names.

    Where MLFLOW_RUN_ID is set (by `mlflow run`), that run is used and left open.
    """
    if given := os.environ.get("MLFLOW_RUN_ID"):
        return _existing(given, owned=False)
    started = int(time.time() * 1000)
    key = f"{started}-train"
    if memory.exists():
        kind, _, key = memory.read_text().strip().partition(" ")
        if kind == "run":
            run = _existing(key, owned=True)
            run.end("RUNNING")
            return run
        if (spool_root() / key).exists():
            return Run(Spool(spool_root() / key), owned=True)
        started = int(key.partition("-")[0])  # it was sent meanwhile, and is found by its key
    creation: dict[str, Any] = {"name": name, "tags": _tags(), "started": started, "key": key}
    memory.parent.mkdir(parents=True, exist_ok=True)
    try:
        run_id = _create(MlflowClient(tracking_uri()), **creation)
    except UNREACHABLE as error:
        _tell(error)
        run = Run(Spool(spool_root() / key), owned=True)
        run.spool.append(CREATE, creation)
        memory.write_text(f"spool {key}")
        return run
    memory.write_text(f"run {run_id}")
    return _existing(run_id, owned=True)


def join_run(model: str) -> Run:
    """Return the run of the model with this digest, to write more to it; a new one tagged detached if there is none."""
    if given := os.environ.get("MLFLOW_RUN_ID"):
        return _existing(given, owned=False)
    if waiting := _spool_of(model):
        return Run(waiting)  # after what is kept already, and not before it
    try:
        return _existing(_run_of(MlflowClient(tracking_uri()), model), owned=False)
    except UNREACHABLE as error:
        _tell(error)
        run = Run(Spool(spool_root() / f"{int(time.time() * 1000)}-join"))
        run.spool.append(JOIN_MODEL, {"model": model})
        return run


def sync(progress: Callable[[str], None]) -> int:
    """Send what is kept on disk, the oldest first, and return how many calls were made; `progress`: told of each run.

    A run whose calls are refused (it was deleted, say) stays, and the next ones are tried; where the server is out of
    reach, all that is left stays. Either ends in a TrackingError that names what is kept.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(SYNC_TIMEOUT)
    sent = 0
    refused = []
    for folder in _spools():
        spool = Spool(folder)
        first, *others = spool.entries()
        try:
            client = MlflowClient(tracking_uri())
            run = Run(spool, _run_of_entry(client, first.name, first.arguments))
            for entry in others:
                if entry.name not in (CREATE, JOIN, JOIN_MODEL):
                    getattr(Run, entry.name).__wrapped__(run, **entry.arguments)
                    sent += 1
                # the first stays until all are sent: it names the run
                entry.remove()
        except UNREACHABLE as error:
            if getattr(error, "error_code", None) in REFUSED:
                refused.append(f"{_first_line(error)}: {folder} is kept; delete it if that run is not wanted any more")
                continue
            kept = f"{_address()}: {_first_line(error)}; {folder} and later ones are kept, run it again later"
            raise TrackingError("\n".join([*refused, kept])) from None
        spool.remove()
        progress(f"run {run.run_id}: {len(others)} calls sent")
    if refused:
        raise TrackingError("\n".join(refused))
    return sent


def _spools() -> list[Path]:
    return sorted(folder for folder in spool_root().glob("*") if next(folder.glob("[0-9]" * 6), None))


def _spool_of(model: str) -> Spool | None:
    for folder in _spools():
        for entry in Spool(folder).entries():
            tags = entry.arguments.get("tags", {})
            if model in (tags.get(MODEL_TAG), entry.arguments.get("model")):
                return Spool(folder)
    return None


def _run_of_entry(client: MlflowClient, name: str, arguments: Mapping[str, Any]) -> str:
    if name == JOIN:
        return str(arguments["run_id"])
    if name == JOIN_MODEL:
        return _run_of(client, arguments["model"])
    return _create(client, **arguments)


def _create(client: MlflowClient, name: str, tags: dict[str, str], started: int, key: str) -> str:
    """Create a run, or find the one that was created with this key when its answer got lost."""
    experiment = _experiment(client)
    found = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, start_time=started, tags={**tags, KEY_TAG: key}, run_name=name)
    return str(run.info.run_id)


def _run_of(client: MlflowClient, model: str) -> str:
    experiment = _experiment(client)
    found = client.search_runs([experiment], f"tags.`{MODEL_TAG}` = '{model}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {**_tags(), MODEL_TAG: model, "layershap.detached": "true"}
    run = client.create_run(experiment, tags=tags, run_name="detached")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _existing(run_id: str, owned: bool) -> Run:
    spool = Spool(spool_root() / f"{int(time.time() * 1000)}-run-{run_id}")
    try:
        return Run(spool, run_id, owned)
    except UNREACHABLE as error:
        run = Run(spool, owned=owned)
        run.run_id = run_id
        run.give_up(error)
        return run


def _tell(error: Exception) -> None:
    print(
        f"layershap: MLflow at {_address()} cannot be reached ({_first_line(error)}); "
        f"what is logged is kept in {spool_root()}, 'layershap sync' sends it",
        file=sys.stderr,
    )


def _address() -> str:
    return re.sub(r"//[^/@]*@", "//", os.environ.get("MLFLOW_TRACKING_URI", paths.STORE.as_posix()))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """Make a run the active one without changing its status: leaving `start_run` would end it."""
    client = MlflowClient(tracking_uri())
    status = client.get_run(run_id).info.status
    with mlflow.start_run(run_id=run_id):
        yield
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    else:
        client.update_run(run_id, status)


def _experiment(client: MlflowClient) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    return client.create_experiment(name, (store_root() / paths.ARTIFACTS).as_uri() if local else None, EXPERIMENT_TAGS)


def _tags() -> dict[str, str]:
    return {"mlflow.source.name": "layershap", **lineage.git_tags()}


@contextmanager
def _without_caches(package: Path) -> Iterator[Path]:
    """Yield a copy of the package without compiled files, to be kept with a model."""
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        yield Path(shutil.copytree(package, Path(folder) / package.name, ignore=ignored))


def _flatten(values: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, separator, f"{prefix}{key}{separator}")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def serve_ui(port: int) -> None:
    """Run the MLflow UI on 127.0.0.1 over the project's store, until interrupted."""
    print(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    arguments = ["--backend-store-uri", tracking_uri(), "--host", "127.0.0.1", "--port", str(port)]
    subprocess.run([sys.executable, "-m", "mlflow", "ui", *arguments], check=False)
