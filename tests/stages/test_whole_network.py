"""model.unfreeze: all, as it is run: nothing is cached, and the whole network is trained on augmented images."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHANGES = {
    "model.unfreeze": "all", "augment.policy": "standard", "train.epochs": 5, "train.patience": 5,
    "train.head_epochs": 1, "train.warmup_epochs": 1, "train.layer_decay": 0.7, "train.average": "ema",
    "trainer.accelerator": "cpu",
}  # fmt: skip
OUTS = ("models/model.pt", "models/model.json", "plots/learning_curve.csv", "metrics/train.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), SETTINGS, count=16)
    for name, value in CHANGES.items():
        project.change(name, value)
    project.said = project.run("dvc", "repro").stdout
    project.alone = outs(project)
    return project


def outs(project):
    return {name: (project.root / name).read_bytes() for name in OUTS}


def test_every_stage_runs_and_extract_says_that_it_has_nothing_to_do(project):
    assert "extract is skipped: model.unfreeze is all, and train reads the images themselves" in project.said
    folder = project.root / "data" / "features"
    assert {path.name for path in folder.rglob("*")} == {"index.json"}
    assert json.loads((folder / "index.json").read_text()) == {"live": True}
    assert "cache_difference" not in json.loads((project.root / "metrics" / "evaluate.json").read_text())
    assert (project.root / "work" / "recorded.json").exists()


def test_workers_change_no_byte(project):
    project.change("loader.workers", 2)
    project.run("layershap", "train")
    project.change("loader.workers", 0)
    assert outs(project) == project.alone


def test_a_training_that_is_killed_goes_on_to_the_same_bytes(project):
    for name in OUTS:
        (project.root / name).unlink()
    process = subprocess.Popen(
        ["layershap", "train"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not any(project.root.glob("work/train/*/last.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (project.root / "models" / "model.pt").exists()
    done = project.run("layershap", "train")
    assert "going on from" in done.stderr
    assert outs(project) == project.alone


def test_two_processes_train_it_together(project):
    project.change("trainer.devices", 2)
    project.run("layershap", "extract")
    done = project.run("layershap", "train")
    project.change("trainer.devices", 1)
    assert done.stderr.count("epoch 1 of") == 1
    lines = (project.root / "plots" / "learning_curve.csv").read_text().splitlines()
    assert len(lines) == 1 + CHANGES["train.epochs"]
