"""Finding the run of a model, or making one."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from layershap.tracking import lineage, store
from layershap.tracking.outage import FAILURES, refused, tell
from layershap.tracking.run import JOIN, Run
from layershap.tracking.spool import Spool, spools
from layershap.workspace.errors import TrackingError

MODEL_TAG = "layershap.model"
KEY_TAG = "layershap.key"
PARENT_TAG = "mlflow.parentRunId"
CREATE, JOIN_MODEL = "create", "join_model"  # the first entry of a spool: which run it belongs to (beside JOIN)


def open_run(name: str, memory: Path) -> Run:
    """Open the run of a training, or the one that was interrupted, which the file `memory` names.

    The run that `mlflow run` gives (MLFLOW_RUN_ID) is used and left open, unless another training has written to it:
    then a new one is made below it, for one run never holds two models.
    """
    memory.parent.mkdir(parents=True, exist_ok=True)
    started = int(time.time() * 1000)
    key = f"{started}-train"
    if memory.exists():
        kind, _, key = memory.read_text().strip().partition(" ")
        if kind == "run":
            run = _existing(key, owned=True)
            if run is not None:
                run.end("RUNNING")
                return run
            key = f"{started}-train"  # it was deleted meanwhile
        elif kind == "given" and key == os.environ.get("MLFLOW_RUN_ID"):
            if run := _existing(key, owned=False):
                return run
        elif (store.spool_root() / key).exists():
            return Run(Spool.reopen(store.spool_root() / key), owned=True)
        else:
            started = int(key.partition("-")[0])  # it was sent meanwhile, and is found by its key
    tags = origin_tags()
    if given := os.environ.get("MLFLOW_RUN_ID"):
        run = _existing(given, owned=False)
        if run is None:
            raise TrackingError(f"no run {given} at {store.address()}, as MLFLOW_RUN_ID has it; unset that")
        if not run.reachable or not ({KEY_TAG, MODEL_TAG} & set(run.tags())):
            run.set_tags({KEY_TAG: key})
            memory.write_text(f"given {given}")
            return run
        tags[PARENT_TAG] = given
    creation: dict[str, Any] = {"name": name, "tags": tags, "started": started, "key": key}
    try:
        run_id = _create(store.connect(), **creation)
    except FAILURES as error:
        tell(error)
        run = Run(Spool(store.spool_root() / key), owned=True)
        run.spool.open(CREATE, creation)
        memory.write_text(f"spool {key}")
        return run
    memory.write_text(f"run {run_id}")
    return _existing(run_id, owned=True) or Run(Spool(store.spool_root() / key, (JOIN, {"run_id": run_id})), owned=True)


def open_kept(name: str, key: str, tags: Mapping[str, str], parent: str = "") -> Run:
    """Return the run with this key, made where there is none; `parent`: the key of the run that it lies below.

    It is to be finished unless it is already, so that recording twice changes nothing.
    """
    if waiting := _spool_with(key):
        return Run(waiting, owned=True)
    after = _spool_with(parent) if parent else None  # the server was away a moment ago: it is not asked again
    creation: dict[str, Any] = {
        "name": name,
        "tags": {**origin_tags(), **tags},
        "started": int(time.time() * 1000),
        "key": key,
        "parent": parent,
    }
    if after is None:
        try:
            run = Run(_new_spool(key), _create(store.connect(), **creation))
            run.owned = run.server.get_run(run.run_id).info.status == "RUNNING"
            return run
        except FAILURES as error:
            tell(error)
    run = Run(_new_spool(key), owned=True)
    run.spool.open(CREATE, creation)
    return run


def join_run(model: str, name: str = "detached") -> Run:
    """Return the run of the model with this digest, to write more to it; a new one tagged detached if there is none.

    The run of MLFLOW_RUN_ID is used where it holds this model, or none yet.
    """
    if waiting := _spool_of(model):
        return Run(waiting)  # after what is kept already, and not before it
    creation = {"model": model, "name": name}
    try:
        given = os.environ.get("MLFLOW_RUN_ID")
        run = _existing(given, owned=False) if given else None
        if run is not None:
            if not run.reachable or run.tags().get(MODEL_TAG, model) == model:
                run.set_tags({MODEL_TAG: model})
                return run
            run = None
        return Run(_new_spool("join"), run_of_model(store.connect(), **creation))
    except FAILURES as error:
        tell(error)
        run = Run(_new_spool("join"))
        run.spool.open(JOIN_MODEL, creation)
        return run


def is_waiting(model: str) -> bool:
    """Return whether something of the model with this digest waits for `layershap sync`."""
    return _spool_of(model) is not None


def id_with_model(client: MlflowClient, model: str) -> str:
    """Return the id of the newest run of the model with this digest; empty where it has none."""
    return _with_tag(client, store.experiment_id(client), MODEL_TAG, model)


def run_of_id(run_id: str) -> Run | None:
    """Return a run that is there already, to write more to it; None where it was deleted."""
    return _existing(run_id, owned=False)


def run_with_model(model: str) -> Run | None:
    """Return the run of the model with this digest, to write more to it; None where it has none.

    Where the server is out of reach, it is a run that is found, or made, when what was kept is sent.
    """
    if waiting := _spool_of(model):
        return Run(waiting)
    try:
        found = id_with_model(store.connect(), model)
        return Run(_new_spool("join"), found) if found else None
    except FAILURES as error:
        tell(error)
        run = Run(_new_spool("join"))
        run.spool.open(JOIN_MODEL, {"model": model})
        return run


def run_of_entry(client: MlflowClient, name: str, arguments: Mapping[str, Any]) -> str:
    """Return the id of the run that a spool's first entry names, made where that entry says so."""
    if name == JOIN:
        return str(arguments["run_id"])
    if name == JOIN_MODEL:
        return run_of_model(client, **arguments)
    return _create(client, **arguments)


def run_of_model(client: MlflowClient, model: str, name: str = "detached") -> str:
    """Return the newest run with this model, or a new one, finished and tagged detached: it saw no training."""
    if found := id_with_model(client, model):
        return found
    experiment = store.experiment_id(client)
    tags = {**origin_tags(), MODEL_TAG: model, "layershap.detached": "true"}
    run = client.create_run(experiment, tags=tags, run_name=name)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def origin_tags() -> dict[str, str]:
    """Return the tags of every new run: by what and by whom it was made, and from which commit."""
    return {"mlflow.source.name": "layershap", "mlflow.user": lineage.user(), **lineage.git_tags()}


def _create(client: MlflowClient, name: str, tags: dict[str, str], started: int, key: str, parent: str = "") -> str:
    """Create a run, or find the one that was created with this key when its answer got lost.

    `parent`: the key of the run that it lies below, which was made before it.
    """
    experiment = store.experiment_id(client)
    if found := _with_tag(client, experiment, KEY_TAG, key):
        return found
    if parent and (above := _with_tag(client, experiment, KEY_TAG, parent)):
        tags = {**tags, PARENT_TAG: above}
    run = client.create_run(experiment, start_time=started, tags={**tags, KEY_TAG: key}, run_name=name)
    return str(run.info.run_id)


def _with_tag(client: MlflowClient, experiment: str, tag: str, value: str) -> str:
    """Return the id of the newest run with this tag, or nothing."""
    found = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
    return str(found[0].info.run_id) if found else ""


def _spool_with(key: str) -> Spool | None:
    for folder in spools(store.spool_root()):
        if next(Spool(folder).entries()).arguments.get("key") == key:
            return Spool.reopen(folder)
    return None


def _spool_of(model: str) -> Spool | None:
    for folder in spools(store.spool_root()):
        for entry in Spool(folder).entries():
            tags = entry.arguments.get("tags", {})
            if model in (tags.get(MODEL_TAG), entry.arguments.get("model")):
                return Spool.reopen(folder)
    return None


def _new_spool(kind: str) -> Spool:
    return Spool(store.spool_root() / f"{int(time.time() * 1000)}-{kind}")


def _existing(run_id: str, owned: bool) -> Run | None:
    """Return the run with this id, out of reach where the server is; None where there is none, or a deleted one."""
    spool = _new_spool(f"run-{run_id}")
    spool.opening = (JOIN, {"run_id": run_id})
    try:
        return Run(spool, run_id, owned)
    except FAILURES as error:
        if refused(error):
            return None
        run = Run(spool, owned=owned)
        run.run_id = run_id
        run.give_up(error)
        return run
