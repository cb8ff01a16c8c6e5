"""`make folds` with real DVC and a real store: every image tested once, by the same numbers as the pipeline's own."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), SETTINGS)
    for number in range(6):  # pictures of the wrong class, so that there are mistakes
        one, other = (project.root / "pictures" / name / f"{number:03d}.png" for name in ("disc", "square"))
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(kept)
    project.first = project.run("layershap", "folds", "--folds", "3")
    return project


def summary(project):
    return json.loads((project.root / "study" / "folds" / "folds.json").read_text())


def test_every_image_is_tested_once(project):
    images = pd.read_csv(project.root / "data" / "images.csv")
    tested = pd.read_csv(project.root / "study" / "folds" / "predictions.csv")
    assert sorted(tested["path"]) == sorted(images["path"])
    assert tested.groupby(["fold", "label"]).size().tolist() == [8] * 6


def test_the_numbers_are_those_of_the_decisions(project):
    tested, found = pd.read_csv(project.root / "study" / "folds" / "predictions.csv"), summary(project)
    accuracy = tested.groupby("fold")["correct"].mean().to_numpy()
    assert found["accuracy"] == pytest.approx(accuracy)
    assert found["mean"] == pytest.approx(accuracy.mean())
    assert accuracy.std() > 0  # there is something to be unsure of
    half = 4.302653 * accuracy.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    assert found["mean_low"] == pytest.approx(max(accuracy.mean() - half, 0), abs=1e-6)
    assert found["mean_high"] == pytest.approx(min(accuracy.mean() + half, 1), abs=1e-6)
    right = int(tested["correct"].sum())
    wilson = binomtest(right, len(tested)).proportion_ci(0.95, method="wilson")
    assert [found["pooled"], found["pooled_low"], found["pooled_high"]] == pytest.approx([right / 48, *wilson])


def test_features_are_made_once_and_no_out_of_the_pipeline_is_touched(project):
    assert project.first.stdout.count("> layershap extract") == 1
    assert not list(project.root.glob("work/folds/*"))
    for name in ("models", "plots", "metrics/evaluate.json"):
        assert not (project.root / name).exists()
    assert "  folds: 3  " in (project.root / "params.yaml").read_text()
    assert "mean" in project.first.stdout and "pooled" in project.first.stdout


def test_a_fold_is_what_the_stages_make_of_it(project):
    before = (project.root / "params.yaml").read_bytes()
    project.change("split.fold", 1)
    for stage in ("split", "train", "evaluate"):
        project.run("layershap", stage, MLFLOW_TRACKING_URI="sqlite:///elsewhere.db")
    (project.root / "params.yaml").write_bytes(before)
    folder = project.root / "study" / "folds" / "fold_1"
    for place in ("data/split.csv", "plots/predictions.csv", "plots/learning_curve.csv", "metrics/train.json"):
        assert (project.root / place).read_bytes() == (folder / place.split("/")[1]).read_bytes(), place


def test_mlflow_has_a_run_with_one_below_it_for_each_fold(project):
    runs = {run.info.run_name: run for run in project.runs()}
    assert sorted(runs) == ["fold 0", "fold 1", "fold 2", "folds"]
    parent, found = runs["folds"], summary(project)
    assert parent.data.metrics["accuracy"] == parent.data.metrics["folds/mean"] == found["mean"]
    assert parent.data.metrics["accuracy_low"] == found["mean_low"]
    assert parent.data.metrics["folds/pooled_high"] == found["pooled_high"]
    for fold in range(3):
        run = runs[f"fold {fold}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["split.fold"] == str(fold)
        assert run.data.metrics["accuracy"] == found["accuracy"][fold]
        assert run.info.status == "FINISHED"
    curve = project.client().get_metric_history(runs["fold 2"].info.run_id, "val_loss")
    assert [point.step for point in curve] == [1, 2, 3, 4]


def test_doing_it_again_changes_nothing(project):
    before = sorted(str(run.to_dictionary()) for run in project.runs())
    again = project.run("layershap", "folds")
    assert "Stage 'folds' didn't change, skipping" in again.stdout
    project.run("layershap", "record", "folds")
    assert sorted(str(run.to_dictionary()) for run in project.runs()) == before


def test_after_a_kill_the_folds_that_are_done_are_not_done_again(project):
    folder = project.root / "study" / "folds"
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)
    environment = {**project.environment(), "DVC_STAGE": "folds"}
    process = subprocess.Popen(
        ["layershap", "folds"], cwd=project.root, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list(project.root.glob("work/folds/*/fold_0")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    assert "of 3 folds are done already" in project.run("layershap", "folds", DVC_STAGE="folds").stdout
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole


def test_the_gate_asks_for_folds_of_these_settings(project):
    before = (project.root / "params.yaml").read_bytes()
    project.change("gate.folds_min_accuracy", 0.99)
    project.change("gate.min_accuracy", 0.0)
    asked = (project.root / "params.yaml").read_bytes()
    project.run("dvc", "repro", "gate")
    verdict = project.root / "metrics" / "gate.json"
    assert json.loads(verdict.read_text())["verdict"] == "INVALID"
    assert "no baseline/folds.json; run 'make folds'" in verdict.read_text()
    assert "run 'dvc repro' to judge by it" in project.run("layershap", "folds").stdout
    assert "> layershap gate" in project.run("dvc", "repro", "gate").stdout
    found = json.loads(verdict.read_text())
    assert found["verdict"] == "FAIL"
    assert f"mean accuracy {summary(project)['mean']:.4f} of 3 folds" in found["reasons"][-1]
    project.change("head.hidden", [4])
    said = project.run("layershap", "gate", expect=None)
    assert "head.hidden was [8] in the folds, and is [4] now; run 'make folds'" in said.stdout
    (project.root / "params.yaml").write_bytes(asked)
    images = project.root / "data" / "images.csv"
    table = images.read_bytes()
    images.unlink()
    assert "FAIL" in project.run("layershap", "gate").stdout  # as dvc.lock has it
    images.write_text("other images")
    assert "the folds are of other images" in project.run("layershap", "gate", expect=None).stdout
    images.write_bytes(table)
    (project.root / "params.yaml").write_bytes(before)


def test_what_cannot_be_is_said_before_any_training(project):
    before = (project.root / "params.yaml").read_bytes()
    project.change("split.folds", None)
    failed = project.run("layershap", "folds", expect=2, DVC_STAGE="folds")
    assert "split.folds is null" in failed.stderr and "make folds FOLDS=5" in failed.stderr
    assert project.run("layershap", "folds", "--folds", "1", expect=2).stderr
    project.change("split.folds", 20)
    project.change("split.val", 0.02)
    failed = project.run("layershap", "folds", expect=3, DVC_STAGE="folds")
    assert "enough for split.val = 0.02" in failed.stderr
    assert not list(project.root.glob("work/folds/*"))
    (project.root / "params.yaml").write_bytes(before)
