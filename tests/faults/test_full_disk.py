"""Row 8: a full disk in a stage, in a checkpoint and in the store: a small real one, where one may be mounted."""

import os
import subprocess

import numpy as np
import pytest
import torch

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZE = 256  # MiB


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(root)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        settings = {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 40, "patience": 40}}
        project = Project(root, np.random.default_rng(0), settings)
        project.run("dvc", "repro", "split")
        yield project
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def fill(project):
    """Take all the space that is left."""
    with (project.root / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            pass


def free(project):
    (project.root / "filler").unlink()


def test_a_stage_names_the_disk_and_goes_through_when_it_is_freed(project):
    fill(project)
    failed = project.run("layershap", "extract", expect=74)
    assert "No space left on device" in failed.stderr
    assert str(project.root) in failed.stderr or "data/features" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert project.run("dvc", "repro", "extract", expect=None).returncode != 0
    free(project)
    # DVC may have been left with half of its own table of locks
    project.run("layershap", "repro")


def test_a_little_space_is_not_written_full(project):
    """The features of 48 images need 983 kB."""
    fill(project)
    os.truncate(project.root / "filler", (project.root / "filler").stat().st_size - 500_000)
    failed = project.run("layershap", "extract", expect=74)
    assert "features need 983.0 kB (48 images x 2 views x 10.2 kB) and the disk of data/features has " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (project.root / "data" / "features.partial").exists()
    free(project)


def test_a_checkpoint_survives_and_training_goes_on(project):
    undisturbed = (project.root / "models" / "model.pt").read_bytes()
    process = subprocess.Popen(
        ["layershap", "train"], cwd=project.root, env=project.environment(), stderr=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "epoch 5 of" in line:
            fill(project)
            break
    said.append(process.stderr.read())
    assert process.wait(120) == 74, "".join(said)
    assert "No space left on device" in said[-1]
    (last,) = (project.root / "work" / "train").glob("*/last.ckpt")
    assert torch.load(last, weights_only=True)["epoch"] >= 3  # counted from 0; the fifth may have been cut off
    assert (project.root / "models" / "model.pt").read_bytes() == undisturbed
    free(project)
    done = project.run("dvc", "repro", "--force", "--single-item", "train")
    assert "going on from" in done.stderr + done.stdout
    project.run("layershap", "sync")
    assert (project.root / "models" / "model.pt").read_bytes() == undisturbed
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    runs = project.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
        assert sorted(steps) == list(range(1, 41))
