"""Row 10: a server that is out of reach, dies, hangs or refuses. Nothing is lost, nothing comes twice."""

import json
import os
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from project import SETTINGS, Project
from servers import free_port, serving, tracking_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EPOCHS = 5
SECRET = "Pa55word-of-Ann"


class Answer(BaseHTTPRequestHandler):
    """Answers everything with one status, or never."""

    status = 500

    def answer(self):
        """Answer with the status of the class; 0: hang."""
        if not self.status:
            time.sleep(60)
        self.send_response(self.status)
        self.end_headers()

    do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "epochs": EPOCHS, "patience": EPOCHS}}
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), settings)
    project.run("dvc", "repro")
    started = time.perf_counter()
    project.run("layershap", "train")
    project.undisturbed = time.perf_counter() - started
    return project


def files_with(root, text):
    """Return the files below a folder that hold a text."""
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def assert_complete(address):
    """Assert that the server has one run, finished, with each point once, and a registered model."""
    client = MlflowClient(address)
    (run,) = client.search_runs([client.get_experiment_by_name("layershap").experiment_id])
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "val_loss", "val_accuracy"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == list(range(1, EPOCHS + 1))
    assert run.data.params["train.epochs"] == str(EPOCHS)
    assert "accuracy" in run.data.metrics
    assert {"plots", "data", "evaluation", "explanations"} <= {
        item.path for item in client.list_artifacts(run.info.run_id)
    }
    assert len(client.search_model_versions(f"run_id = '{run.info.run_id}'")) == 1
    assert len(run.inputs.dataset_inputs) == 3
    return run


@pytest.mark.parametrize("status", [500, 403, 0, None])
def test_a_server_that_never_works(project, status):
    handler = type("Handler", (Answer,), {"status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    port = server.server_address[1]
    if status is None:
        server.server_close()  # nobody listens
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {"MLFLOW_TRACKING_URI": f"http://ann:{SECRET}@127.0.0.1:{port}"}
    started = time.perf_counter()
    done = project.run("layershap", "train", **environment)
    assert time.perf_counter() - started < project.undisturbed + 15
    assert "layershap sync" in done.stderr
    recorded = project.run("layershap", "record", **environment)
    failed = project.run("layershap", "sync", expect=3, **environment, MLFLOW_HTTP_REQUEST_TIMEOUT="4")
    assert "Traceback" not in failed.stderr
    shown = project.run("layershap", "ui", expect=3, **environment, MLFLOW_HTTP_REQUEST_TIMEOUT="4")
    assert f"127.0.0.1:{port}" in shown.stdout
    assert "Traceback" not in shown.stderr
    for said in (done, recorded, failed, shown):
        assert SECRET not in said.stdout + said.stderr
    assert not files_with(project.root, SECRET)
    if status is not None:
        server.shutdown()
        server.server_close()
    name = f"status{status}"
    with serving(project, *tracking_server(project, name)) as address:
        project.run("layershap", "sync", MLFLOW_TRACKING_URI=address)
        first = assert_complete(address)
        project.run("layershap", "sync", MLFLOW_TRACKING_URI=address)
        again = assert_complete(address)
        assert first.data.metrics == again.data.metrics
    assert not list((project.root / "work" / "spool").glob("*"))


def test_a_server_that_dies_while_training(project):
    command = tracking_server(project, "dying")
    address = f"http://127.0.0.1:{free_port()}"
    project.change("train.epochs", EPOCHS)
    with serving(project, *command) as first:
        process = subprocess.Popen(
            ["layershap", "train"],
            cwd=project.root,
            env={**project.environment(), "MLFLOW_TRACKING_URI": first},
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in process.stderr:
            if "epoch 2 of" in line:
                break
    # the server is gone now
    rest = process.stderr.read()
    assert process.wait(120) == 0, rest
    assert "layershap sync" in rest
    project.run("layershap", "record", MLFLOW_TRACKING_URI=address)
    with serving(project, *command) as second:
        project.run("layershap", "sync", MLFLOW_TRACKING_URI=second)
        assert_complete(second)


def test_a_sync_that_is_killed_loses_and_doubles_nothing(project):
    dead = "http://127.0.0.1:9"
    project.run("layershap", "train", MLFLOW_TRACKING_URI=dead)
    project.run("layershap", "record", MLFLOW_TRACKING_URI=dead)
    (spool,) = (project.root / "work" / "spool").glob("*")
    count = len(list(spool.glob("0*")))
    with serving(project, *tracking_server(project, "killed")) as address:
        environment = {**project.environment(), "MLFLOW_TRACKING_URI": address}
        for left in (count - 3, count // 2):
            process = subprocess.Popen(["layershap", "sync"], cwd=project.root, env=environment)
            while len(list(spool.glob("0*"))) > left and process.poll() is None:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        project.run("layershap", "sync", MLFLOW_TRACKING_URI=address)
        assert_complete(address)


def test_what_is_kept_is_readable(project):
    project.run("layershap", "train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    (spool,) = (project.root / "work" / "spool").glob("*")
    calls = [json.loads((entry / "call.json").read_text())["name"] for entry in sorted(spool.glob("0*"))]
    assert calls[0] == "create"
    assert calls[-1] == "end"
    assert calls.count("log_metrics") == EPOCHS
