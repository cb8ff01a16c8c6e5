"""A run of MLflow to write to, and what can be written. What cannot be sent is kept for `layershap sync`."""

import inspect
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient

from layershap.tracking import model, pictures, store
from layershap.tracking.names import flatten, safe_name
from layershap.tracking.outage import FAILURES, first_line, refused, say, tell
from layershap.tracking.spool import Spool
from layershap.workspace import paths
from layershap.workspace.errors import TrackingError

CHANGED_TAG = "layershap.changed."  # settings that were others when the model was trained
JOIN = "join"


def _spooled(method: Callable[..., None]) -> Callable[..., None]:
    """Make a method of Run keep its call on disk where it cannot be sent; arguments are plain values and paths."""

    @wraps(method)
    def write(self: "Run", *values: Any, **named: Any) -> None:
        arguments = inspect.signature(method).bind(self, *values, **named).arguments
        del arguments["self"]
        if self.reachable:
            try:
                return method(self, **arguments)
            except FAILURES as error:
                self.give_up(error)
        self.spool.append(method.__name__, dict(arguments))
        return None

    return write


class Run:
    """An MLflow run to write to. Writing never fails: what cannot be sent is kept for `layershap sync`.

    Every call can be made twice without harm, for an answer can get lost after the call was done.
    """

    def __init__(self, spool: Spool, run_id: str = "", owned: bool = False):
        """`run_id`: empty where the run cannot be reached. `owned`: opened here, so that it is ended here.

        Raises one of FAILURES where the run is not there or was deleted.
        """
        self.spool = spool
        self.run_id = run_id
        self.owned = owned
        self.reachable = bool(run_id)
        self.client = store.connect() if run_id else None
        self.started = 0
        if run_id:
            info = self.server.get_run(run_id).info
            if info.lifecycle_stage == "deleted":
                raise TrackingError(f"the run {run_id} was deleted; restore it in the UI")
            self.started = int(info.start_time)

    @property
    def server(self) -> MlflowClient:
        """The client of a run that can be reached."""
        assert self.client is not None
        return self.client

    def give_up(self, error: Exception) -> None:
        """Send nothing more in this process: a server that hangs costs its time-out once."""
        self.reachable = False
        self.spool.opening = (JOIN, {"run_id": self.run_id})
        tell(error)

    def tags(self) -> dict[str, str]:
        """Return the run's tags; none where it cannot be reached."""
        return dict(self.server.get_run(self.run_id).data.tags) if self.reachable else {}

    @_spooled
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log nested settings under dotted names.

        MLflow keeps a setting as it was first. One that is another now, which did not change the model, stands in a tag
        layershap.changed.<name>.
        """
        data = self.server.get_run(self.run_id).data
        settings = {key: str(value) for key, value in flatten(params, ".").items()}
        new = {key: value for key, value in settings.items() if key not in data.params}
        self._each_or_all([Param(key, value) for key, value in new.items()])
        for key, value in settings.items():
            tag = CHANGED_TAG + key
            if data.params.get(key, value) != value:
                self.server.set_tag(self.run_id, tag, value)
            elif tag in data.tags:
                self.server.delete_tag(self.run_id, tag)

    @_spooled
    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log every number of nested metrics under names with / between, by which the UI makes groups of charts.

        The same again changes nothing; another value at the same step is taken for a newer one.
        """
        numbers = {key: value for key, value in flatten(metrics, "/").items() if isinstance(value, (int, float))}
        known = self.server.get_run(self.run_id).data.metrics
        batch = []
        for key, value in numbers.items():
            # a time stamp that belongs to the step: logging the same again changes nothing
            stamp = self.started + 1000 * step
            if step == 0 and key in known:
                if known[key] == value:
                    continue
                stamp = max(int(time.time() * 1000), stamp + 1)
            batch.append(Metric(key, float(value), stamp, step))
        self._each_or_all(batch)

    @_spooled
    def log_series(self, series: Mapping[str, Mapping[str, float]]) -> None:
        """Log {name: {step: number}}, steps as text; what is there already is left, another number is a newer one."""
        batch = []
        for name, points in series.items():
            key = "/".join(safe_name(part) for part in name.split("/"))
            known: dict[int, Metric] = {}
            for point in self.server.get_metric_history(self.run_id, key):
                if point.step not in known or point.timestamp >= known[point.step].timestamp:
                    known[point.step] = point
            for text, value in points.items():
                step, stamp = int(text), self.started + 1000 * int(text)
                if step in known:
                    if known[step].value == value:
                        continue
                    stamp = max(int(time.time() * 1000), known[step].timestamp + 1)
                batch.append(Metric(key, float(value), stamp, step))
        self._each_or_all(batch)

    def _each_or_all(self, batch: Sequence[Param | Metric]) -> None:
        """Log params or metrics together; where one is refused, each for itself, and say which the server refuses."""
        try:
            for start in range(0, len(batch), 100):
                self._send(batch[start : start + 100])
            return
        except MlflowException as error:
            if not refused(error) or len(batch) < 2:
                raise
        lost = {}
        for item in batch:
            try:
                self._send([item])
            except MlflowException as error:
                if not refused(error):
                    raise
                lost[item.key] = first_line(error)
        if len(lost) == len(batch):
            raise MlflowException.invalid_parameter_value(next(iter(lost.values())))
        for key, reason in lost.items():
            say(f"MLflow refuses {key!r}: {reason}")

    def _send(self, batch: Sequence[Param | Metric]) -> None:
        params = [item for item in batch if isinstance(item, Param)]
        self.server.log_batch(self.run_id, [item for item in batch if isinstance(item, Metric)], params)

    @_spooled
    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or all files of a folder to the run."""
        if path.is_dir():
            self.server.log_artifacts(self.run_id, str(path), folder)
        else:
            self.server.log_artifact(self.run_id, str(path), folder)

    @_spooled
    def log_text(self, text: str, name: str) -> None:
        """Write a text file to the run."""
        self.server.log_text(self.run_id, text, name)

    @_spooled
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items():
            self.server.set_tag(self.run_id, key, value)

    @_spooled
    def set_first_tags(self, tags: Mapping[str, str]) -> None:
        """Set those tags that the run lacks: where it was trained stays true when it is recorded elsewhere."""
        known = self.server.get_run(self.run_id).data.tags
        for key in tags.keys() - known.keys():
            self.server.set_tag(self.run_id, key, tags[key])

    def describe(self, text: str) -> None:
        """Show Markdown as the run's description."""
        self.set_tags({"mlflow.note.content": text})

    @_spooled
    def log_images(self, images: Mapping[str, Path], digest: str, small: Mapping[str, Path] | None = None) -> None:
        """Show pictures in the UI's image grid, by title, in place of those of before (`digest`: others are there).

        `small`: what the grid shows of some of them; a click there shows the whole.
        """
        pictures.show(self.server, self.run_id, images, digest, small or {})

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
            self.run_id, sampling_interval=5, resume_logging=True, tracking_uri=store.tracking_uri()
        )
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()
            # a last sample: one that was shorter than the interval has one too
            with suppress(*FAILURES):
                monitor.collect_metrics()
                monitor.publish_metrics(monitor.aggregate_metrics())
                monitor.mlflow_logger.flush()

    @_spooled
    def log_model(self, folder: Path, registered: str, example: Path) -> None:
        """Log the model in `folder` (see serving/predictor.py) and register it; `example`: an image file."""
        model.log_model(self.server, self.run_id, folder, registered, example)

    @_spooled
    def judge_model(self, verdict: str, promote: bool = True) -> None:
        """Write the gate's verdict on the run and its registered model: with `promote`, champion after a PASS."""
        self.server.set_tag(self.run_id, model.VERDICT_TAG, verdict)
        model.judge(self.server, self.run_id, verdict, promote)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run, unless somebody else opened it."""
        if self.owned:
            self.end(status)

    @_spooled
    def end(self, status: str) -> None:
        """Set the run's status."""
        self.server.set_terminated(self.run_id, status)
