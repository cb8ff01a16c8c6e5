"""Row 5 and 12 of the faults that a run survives: signals in train, and going on afterwards."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 12, "patience": 12}}
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), settings)
    project.run("dvc", "repro", "split", "extract")
    return project


def interrupted_training(project, number, after):
    """Start train, send the signal once `after` epochs are kept, and return the exit status."""
    process = subprocess.Popen(
        ["layershap", "train"], cwd=project.root, env=project.environment(), stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if f"epoch {after} of" in line:
            os.kill(process.pid, number)
            break
    process.stderr.read()
    return process.wait(60)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_with_its_status_and_records_nothing(project, number, status):
    lock = (project.root / "dvc.lock").read_bytes()
    assert interrupted_training(project, number, 3) == status
    assert not (project.root / "models").exists()
    assert (project.root / "dvc.lock").read_bytes() == lock
    (run,) = project.runs()
    assert run.info.status == "KILLED"


def test_the_next_run_goes_on_in_the_same_run(project):
    done = project.run("dvc", "repro", "train")
    assert "going on from" in done.stdout + done.stderr
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    curve = (project.root / "plots" / "learning_curve.csv").read_text().splitlines()
    assert len(curve) == 1 + json.loads((project.root / "metrics" / "train.json").read_text())["epochs"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
    assert len(steps) == len(set(steps)) == len(curve) - 1


def test_it_ends_as_an_undisturbed_run_does(project):
    broken = (project.root / "models" / "model.pt").read_bytes()
    project.run("dvc", "repro", "--force", "--single-item", "train")
    assert (project.root / "models" / "model.pt").read_bytes() == broken


def test_an_error_after_the_last_epoch_ends_the_run_as_failed(project):
    """M7: an out cannot be written."""
    before = {run.info.run_id for run in project.runs()}
    project.change("train.seed", 1)
    (project.root / "plots").rename(project.root / "kept")
    (project.root / "plots").write_text("in the way")
    project.run("layershap", "train", expect=None)
    (project.root / "plots").unlink()
    (project.root / "kept").rename(project.root / "plots")
    (run,) = [run for run in project.runs() if run.info.run_id not in before]
    assert run.info.status == "FAILED"
