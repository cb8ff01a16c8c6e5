"""The studies as stages of their own, with real DVC and a real store."""

import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    studies = {"quality": {"images": 2, "references": 2}, "other_faces": {"images": 4, "sets": 2}}
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), {**SETTINGS, **studies})
    project.run("dvc", "repro")
    return project


def history(project, name):
    (run,) = project.runs()
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def test_the_default_pipeline_does_not_wait_for_them(project):
    assert not (project.root / "study" / "quality").exists()
    assert not (project.root / "study" / "other_faces").exists()


def test_quality_has_every_layer_and_is_logged(project):
    project.run("dvc", "--cd", "study", "repro", "record_quality")
    table = pd.read_csv(project.root / "study" / "quality" / "table.csv")
    assert set(table["layer"]) == set(range(2, 20))
    assert (table.loc[table["measure"] == "gini", "images"] == 2).all()
    assert sorted(history(project, "quality/gini")) == list(range(2, 20))
    (run,) = project.runs()
    assert "quality/quality.png" in project.artifacts(run)


def test_other_faces_goes_on_after_a_kill_and_ends_the_same(project):
    process = subprocess.Popen(
        ["layershap", "other-faces"], cwd=project.root, env=project.environment(), stderr=subprocess.DEVNULL
    )
    while not list(project.root.glob("work/other_faces/*/00001.csv")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (project.root / "study" / "other_faces").exists()
    done = project.run("dvc", "--cd", "study", "repro", "record_other_faces")
    assert "of 4 images are done already" in done.stdout
    folder = project.root / "study" / "other_faces"
    resumed = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(resumed) == {"images.csv", "table.csv", "results.md", "retrieval.png", "references.png", "example.png"}
    project.run("dvc", "--cd", "study", "repro", "--force", "--single-item", "other_faces")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == resumed
    assert sorted(history(project, "other_faces/a same/auc")) == list(range(2, 20))
    assert not list((project.root / "work").glob("other_faces/*"))


def test_the_image_against_itself_is_zero_in_the_table(project):
    table = pd.read_csv(project.root / "study" / "other_faces" / "table.csv")
    assert (table.loc[table["experiment"] == "i", "mean"] == 0).all()


def test_too_many_images_are_an_error_before_any_work(project):
    project.change("other_faces.images", 10_000)
    failed = project.run("layershap", "other-faces", expect=3)
    assert "other_faces.images asks for 10000 images of the test split" in failed.stderr
