"""The stages that compute, by two real processes with one thread each: the same bytes as by one, and what kills do."""

import csv
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAGES = ("extract", "train", "evaluate", "explain")
TORCHRUN = "torchrun --standalone --nproc-per-node 2"
LONGEST = 60  # seconds in which the others end where one has died


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return a project that ran by one process with one thread."""
    project = Project(tmp_path_factory.mktemp("alone") / "project", np.random.default_rng(0))
    for name, value in {"runtime.threads": 1, "extract.batch_size": 1, "evaluate.batch_size": 2}.items():
        project.change(name, value)
    project.commit()
    project.run("layershap", "repro", "explain")
    return project


def again(alone: Project, root: Path, changes: dict) -> Project:
    """Return a copy of the project with other settings."""
    shutil.copytree(alone.root, root, symlinks=True)
    project = Project.at(root)
    for name, value in changes.items():
        project.change(name, value)
    return project


DEVICES = {"trainer.accelerator": "cpu", "trainer.devices": 2}
WAYS = {"devices": DEVICES, "launcher": {"launcher": TORCHRUN}}


def files(root: Path, *outs: str) -> dict[str, bytes]:
    """Return the bytes of every file below the outs."""
    found = [path for out in outs for path in ((root / out).rglob("*") if (root / out).is_dir() else [root / out])]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found if path.is_file()}


def curve(project: Project) -> np.ndarray:
    """Return the learning curve's numbers [epochs, columns]."""
    with (project.root / "plots" / "learning_curve.csv").open() as file:
        return np.array([[float(value) for value in row.values()] for row in csv.DictReader(file)])


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_end_in_the_bytes_of_one(alone, tmp_path, way):
    project = again(alone, tmp_path / "project", WAYS[way])
    outs = ("data/features", "metrics/evaluate.json", "plots/predictions.csv", "plots/evaluate", "explanations",
            "plots/layers.csv", "metrics/explain.json")  # fmt: skip
    for out in outs:
        path = project.root / out
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stage in ("extract", "evaluate", "explain"):
        project.run("layershap", stage)
    wanted, found = files(alone.root, *outs), files(project.root, *outs)
    assert len(wanted) > 20
    assert list(found) == list(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one_and_record_one_run(alone, tmp_path, way):
    project = again(alone, tmp_path / "project", WAYS[way])
    before = len(project.runs())
    done = project.run("layershap", "train")
    assert done.stderr.count("epoch 1 of") == 1  # one of them talks
    np.testing.assert_allclose(curve(project), curve(alone), rtol=0, atol=1e-4)
    assert len(project.runs()) == before + 1
    assert project.runs()[0].info.status == "FINISHED"


RECIPE = {
    "model.unfreeze": 2, "train.head_epochs": 2, "train.warmup_epochs": 1, "train.layer_decay": 0.5,
    "train.gradient_clip": 1.0, "train.label_smoothing": 0.1, "train.average": "ema",
}  # fmt: skip


def test_two_processes_train_by_the_whole_recipe(alone, tmp_path):
    one, two = (again(alone, tmp_path / name, {**RECIPE, **more}) for name, more in (("1", {}), ("2", DEVICES)))
    for project in (one, two):
        project.run("layershap", "extract")
        project.run("layershap", "train")
    found, expected = curve(two), curve(one)
    # while the layers rest: later, each process takes norms' statistics of its own share of a batch
    np.testing.assert_allclose(found[:2], expected[:2], rtol=0, atol=1e-4)
    assert len(found) == len(expected) == 4
    assert np.isfinite(found).all()
    repeated = curve(two)
    project.run("layershap", "train")
    assert (curve(two) == repeated).all()


def children(process: int) -> list[int]:
    """Return the processes below one that compute, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(
                line.split("=", 1) for line in (folder / "environ").read_text().split("\0") if "=" in line
            )
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == process and "RANK" in environment:
            found[int(environment["RANK"])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def started(project: Project, stage: str, ready: str) -> subprocess.Popen:
    """Start a stage and wait until a file that fits the pattern `ready` is there."""
    process = subprocess.Popen(
        ["layershap", stage],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not any(project.root.glob(ready)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, f"{stage} has not come to {ready}"
        time.sleep(0.05)
    return process


LONG = {"train.epochs": 60, "train.patience": 60, "explain.images": 8}
READY = {"train": "work/train/*/last.ckpt", "explain": "work/explain/*/*"}
OUTS = {"train": ("models", "plots/learning_curve.csv"), "explain": ("explanations", "plots/layers.csv")}


@pytest.fixture(scope="module")
def undisturbed(alone, tmp_path_factory):
    """Return what two processes write that nobody kills, by stage."""
    project = again(alone, tmp_path_factory.mktemp("undisturbed") / "project", {**DEVICES, **LONG})
    found = {}
    for stage, outs in OUTS.items():
        project.run("layershap", stage)
        found[stage] = files(project.root, *outs)
        if stage == "train":  # what is killed below explains the first project's model
            for out in outs:
                path = project.root / out
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(alone.root / "models", project.root / "models")
    return found


@pytest.mark.parametrize(("stage", "rank"), [("train", 0), ("train", 1), ("explain", 1)])
def test_a_rank_that_is_killed_is_named_and_nothing_is_lost(alone, undisturbed, tmp_path, stage, rank):
    project = again(alone, tmp_path / "project", {**DEVICES, **LONG})
    wanted = undisturbed[stage]
    for out in OUTS[stage]:
        path = project.root / out
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    process = started(project, stage, READY[stage])
    ranks = children(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[rank], signal.SIGKILL)
    killed = time.monotonic()
    _, said = process.communicate(timeout=LONGEST)
    assert time.monotonic() - killed < LONGEST
    assert process.returncode == 128 + signal.SIGKILL
    assert f"{stage}: rank {rank} of 2 processes (pid {ranks[rank]}) was ended by SIGKILL" in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{other}").exists() for other in ranks)
    assert not any((project.root / out).exists() for out in OUTS[stage])

    project.run("layershap", stage)
    found = files(project.root, *OUTS[stage])
    assert list(found) == list(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_ends_the_command_ends_all_its_processes(alone, tmp_path, number, code):
    project = again(alone, tmp_path / "project", {**DEVICES, **LONG})
    shutil.rmtree(project.root / "models")
    process = started(project, "train", READY["train"])
    ranks = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=LONGEST)
    assert process.returncode == code
    assert "Traceback" not in said
    until = time.monotonic() + LONGEST
    while any(Path(f"/proc/{rank}").exists() for rank in ranks) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert not (project.root / "models").exists()
    if number != signal.SIGKILL:
        assert project.runs()[0].info.status == "KILLED"
    project.run("layershap", "train")
    assert project.runs()[0].info.status == "FINISHED"


def test_a_second_start_is_told_who_is_running(alone, tmp_path):
    project = again(alone, tmp_path / "project", {**DEVICES, "train.epochs": 2000, "train.patience": 2000})
    process = started(project, "train", READY["train"])
    second = project.run("layershap", "train", expect=75)
    assert "stage train is running as process" in second.stderr
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=LONGEST)
