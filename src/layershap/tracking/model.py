"""The registered model: logged with the code that serves it, tagged with its verdict, champion after a PASS."""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import AnyType, ColSpec, DataType, Map, ParamSchema, ParamSpec, Schema

from layershap.tracking import store
from layershap.workspace import paths
from layershap.workspace.files import read_json
from layershap.workspace.fingerprint import code_digest
from layershap.workspace.params import Params

CHAMPION = "champion"
VERDICT_TAG = "layershap.gate"
CHAMPION_TAG = "layershap.champion"
CODE_TAG = "layershap.code"
PACKAGE = Path(__file__).parents[1]
ROOMS = ("workspace", "chain", "explain", "data", "model", "serving")  # what answers for a served model
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


def registered_name(params: Params) -> str:
    """Return the name under which models of this data are registered."""
    return f"layershap-{params.data.source}"


def log_model(client: MlflowClient, run_id: str, folder: Path, registered: str, example: Path) -> None:
    """Log the model in `folder` and register it as `registered`, unless the run has it with this very code."""
    code = code_digest(ROOMS)
    newest = newest_version(client, run_id)
    if newest and newest.tags.get(CODE_TAG, code) == code:
        client.set_model_version_tag(newest.name, newest.version, CODE_TAG, code)
        return
    mlflow.set_tracking_uri(store.tracking_uri())
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in SERVED_PACKAGES]
    shown = base64.b64encode(example.read_bytes()).decode()
    # the run's id alone: start_run refuses an experiment beside it
    with _active(run_id), _without_caches() as package:
        own = _own_code(folder)
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PACKAGE / "serving" / "served_model.py"),
            artifacts={"model": str(folder)},
            code_paths=[str(package), *([str(own)] if own else [])],
            signature=SIGNATURE,
            input_example=pd.DataFrame({"image": [shown]}),
            pip_requirements=requirements,
            registered_model_name=registered,
        )
    if logged := newest_version(client, run_id):
        client.set_model_version_tag(logged.name, logged.version, CODE_TAG, code)


def _own_code(folder: Path) -> Path | None:
    """Return the file or folder, in the project, of the user's own function that builds the model in `folder`."""
    place, colon, _ = str(read_json(folder / paths.MODEL_CARD.name)["backbone"]).partition(":")
    top = place.partition(".")[0]
    found = (Path.cwd() / name for name in (top, f"{top}.py"))
    return next((path for path in found if colon and path.exists()), None)


def judge(client: MlflowClient, run_id: str, verdict: str, promote: bool = True) -> None:
    """Tag the run's registered model with the gate's verdict; with `promote`, a PASS makes it the champion.

    The run of the champion says so in a tag, for the UI's table of runs shows tags, and no alias.
    """
    if newest := newest_version(client, run_id):
        client.set_model_version_tag(newest.name, newest.version, VERDICT_TAG, verdict)
        if verdict == "PASS" and promote:
            client.set_registered_model_alias(newest.name, CHAMPION, newest.version)
        say_champion(client, newest.name, client.get_run(run_id).info.experiment_id)


def say_champion(client: MlflowClient, registered: str, experiment: str) -> None:
    """Bring the tags of the experiment's runs to where the alias champion stands."""
    version = str(client.get_registered_model(registered).aliases.get(CHAMPION, ""))
    champion = client.get_model_version(registered, version).run_id if version else ""
    said = f"{registered} v{version}"
    for run in client.search_runs([experiment], f"tags.`{CHAMPION_TAG}` LIKE '% v%'"):
        # not by the search, where _ stands for any letter
        model = run.data.tags[CHAMPION_TAG].rpartition(" v")[0]
        if model == registered and run.info.run_id != champion:
            client.delete_tag(run.info.run_id, CHAMPION_TAG)
    # none where the champion's run was deleted, or is another experiment's
    for run in client.search_runs([experiment], f"attributes.run_id = '{champion}'") if champion else []:
        client.set_tag(run.info.run_id, CHAMPION_TAG, said)


def newest_version(client: MlflowClient, run_id: str) -> Any:
    """Return the last registered version of the run's model, or None."""
    found = client.search_model_versions(f"run_id = '{run_id}'")
    return max(found, key=lambda entry: int(entry.version)) if found else None


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """Make a run the active one without changing its status: leaving `start_run` would end it."""
    client = store.connect()
    status = client.get_run(run_id).info.status
    with mlflow.start_run(run_id=run_id):
        yield
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    else:
        client.update_run(run_id, status)


@contextmanager
def _without_caches() -> Iterator[Path]:
    """Yield a copy of the package without compiled files, to be kept with a model."""
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
        yield Path(shutil.copytree(PACKAGE, Path(folder) / PACKAGE.name, ignore=ignored))
