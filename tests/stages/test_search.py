"""`make search` with real Optuna, its real SQLite storage, real trainings and a real store of MLflow."""

import json
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPACES = """
head:
  head.hidden: [[], [4], [8]]
  head.dropout: {from: 0.0, to: 0.9}
learning:
  train.learning_rate: {from: 0.00001, to: 0.01, log: true}
"""


def make(root):
    project = Project(root, np.random.default_rng(0), SETTINGS)
    (project.root / "study" / "search.yaml").write_text(SPACES)
    return project


def trials(done):
    return [line for line in done.stderr.splitlines() + done.stdout.splitlines() if line.startswith("trial ")]


def test_without_optuna_it_says_how_to_install_it_before_any_work(tmp_path):
    project = make(tmp_path / "project")
    code = "import sys; sys.modules['optuna'] = None; from layershap.cli import main; main()"
    failed = project.run(sys.executable, "-c", code, "search", "head", expect=3)
    assert "pip install 'optuna>=4'" in failed.stderr
    assert not (project.root / "data" / "images.csv").exists()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    pytest.importorskip("optuna")
    project = make(tmp_path_factory.mktemp("project"))
    project.first = project.run("layershap", "search", "head", "--trials", "8")
    return project


def test_a_wrong_space_is_named_before_any_work(project, tmp_path):
    other = make(tmp_path / "project")
    assert "there are head, learning" in other.run("layershap", "search", "tail", expect=2).stderr
    (other.root / "study" / "search.yaml").write_text("head:\n  head.hidden: [[0]]\n")
    assert "head.hidden" in other.run("layershap", "search", "head", expect=2).stderr
    assert not (other.root / "data" / "images.csv").exists()


def test_the_best_setting_is_printed_as_options_that_dvc_takes(project):
    command = shlex.split(project.first.stdout.splitlines()[-1])
    assert command[:4] == ["dvc", "exp", "run", "-S"]
    runs = [run for run in project.runs() if run.info.run_name.startswith("trial")]
    best = min(runs, key=lambda run: run.data.metrics.get("search/val_loss", np.inf))
    before = (project.root / "params.yaml").read_bytes()
    project.run(*command, "train")
    trained = json.loads((project.root / "metrics" / "train.json").read_text())
    # the pipeline reads features of other batches, which may differ in their last bits
    assert trained["val_loss"] == pytest.approx(best.data.metrics["search/val_loss"], rel=1e-2, abs=1e-4)
    assert f"dropout: {best.data.params['head.dropout'][:5]}" in (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_bytes(before)


def test_mlflow_has_a_run_below_the_searchs_for_each_trial(project):
    runs = {
        run.info.run_name: run
        for run in project.runs()
        if "search" in run.info.run_name or "trial" in run.info.run_name
    }
    assert sorted(runs) == ["search head", *(f"trial {number}" for number in range(8))]
    parent = runs.pop("search head")
    assert parent.data.metrics["search/trials"] == 8
    losses = [run.data.metrics["search/val_loss"] for run in runs.values() if "search/val_loss" in run.data.metrics]
    assert parent.data.metrics["search/val_loss"] == min(losses)
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
    # what was set is tried first
    assert runs["trial 0"].data.params["head.hidden"] == "[8]"
    assert runs["trial 0"].data.params["head.dropout"] == "0.5"
    curve = project.client().get_metric_history(runs["trial 0"].info.run_id, "val_loss")
    assert [point.step for point in curve if point.step] == [1, 2, 3, 4]


def test_it_goes_on_where_it_was(project):
    again = project.run("layershap", "search", "head", "--trials", "8")
    assert "8 trials of this space are done already" in again.stdout
    assert again.stdout.splitlines()[-1] == project.first.stdout.splitlines()[-1]
    more = project.run("layershap", "search", "head", "--trials", "9")
    assert len(trials(more)) == 1
    other = project.run("layershap", "search", "learning", "--trials", "1")
    assert "done already" not in other.stdout


def test_nothing_of_the_pipeline_is_touched(project):
    status = json.loads(project.run("dvc", "status", "--json", "split").stdout)
    assert status == {}
    assert not [path for path in project.root.glob("work/search/*") if path.name != "trials.db"]


def test_the_test_images_change_nothing(tmp_path):
    pytest.importorskip("optuna")
    said = []
    for name in ("with", "without"):
        project = make(tmp_path / name)
        project.run("layershap", "fetch")
        project.run("layershap", "split")
        split = pd.read_csv(project.root / "data" / "split.csv")
        test = (split["split"] == "test").to_numpy()
        assert test.sum() == 12
        if name == "without":
            images = pd.read_csv(project.root / "data" / "images.csv")
            for path in images["path"][test]:
                (project.root / "data" / "raw" / path).unlink()
            images["label"] = images["label"].where(~test, "nobody knows")
            images["target"] = images["target"].where(~test, -7)
            images.to_csv(project.root / "data" / "images.csv", index=False)
            split["label"] = split["label"].where(~test, "nobody knows")
            split.to_csv(project.root / "data" / "split.csv", index=False)
        # the stage itself: DVC would bring the images back
        code = "from layershap.stages.search import run; run('head', 2)"
        said.append(project.run(sys.executable, "-c", code).stdout)
    assert "best: trial" in said[0]
    assert said[0] == said[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_goes_on_with_the_trial_that_was_running(tmp_path, number):
    pytest.importorskip("optuna")
    project = make(tmp_path / "project")
    project.change("train.epochs", 400)
    project.change("train.patience", 400)
    process = subprocess.Popen(
        ["layershap", "search", "learning", "--trials", "1"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(project.root.glob("work/search/*/trial_*/work/train/*/last.ckpt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in said
        assert "Traceback" not in said
    done = project.run("layershap", "search", "learning", "--trials", "1")
    assert "going on from" in done.stderr
    assert len(trials(done)) == 1
    (run,) = [run for run in project.runs() if run.info.run_name.startswith("trial")]
    assert run.data.params["train.learning_rate"] == "0.001"
