"""Rows 1, 4, 9: kill -9 at random moments, then again. LAYERSHAP_KILLS: kills of each stage (default 2).

LAYERSHAP_TRIES: tries at two trainers in one folder (default 1)."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KILLS = int(os.environ.get("LAYERSHAP_KILLS", "2"))
TRIES = int(os.environ.get("LAYERSHAP_TRIES", "1"))
STAGES = ("fetch", "extract", "train", "explain")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 12, "patience": 12}}
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), settings)
    project.run("dvc", "repro")
    project.undisturbed = digests(project)
    return project


def digests(project):
    """Return dvc.lock: the digest of every output of every stage, whatever their order."""
    return YAML(typ="safe").load(project.root / "dvc.lock")


def again(project, stage):
    """Run a stage, and where the kill hit DVC as it wrote dvc.lock, what was lost of that."""
    project.run("layershap", "repro", "--force", "--single-item", stage)
    if digests(project) != project.undisturbed:
        project.run("layershap", "repro")


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_as_an_undisturbed_one(project, stage):
    random = np.random.default_rng(len(stage))
    started = time.perf_counter()
    again(project, stage)
    duration = time.perf_counter() - started
    assert digests(project) == project.undisturbed
    artifacts = {run.info.run_id: project.artifacts(run) for run in project.runs()}
    for _ in range(KILLS):
        process = subprocess.Popen(
            ["dvc", "repro", "--force", "--single-item", stage],
            cwd=project.root,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(random.uniform(0.2, 1.0) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        again(project, stage)
        assert digests(project) == project.undisturbed
    if stage == "explain":
        assert {run.info.run_id: project.artifacts(run) for run in project.runs()} == artifacts
    project.run("dvc", "repro")
    assert digests(project) == project.undisturbed


@pytest.mark.parametrize("end", ["", "      hash: m", "    - path: models"])
def test_a_kill_while_dvc_writes_its_own_files(project, end):
    whole = (project.root / "dvc.lock").read_bytes()
    (project.root / "dvc.lock").write_bytes(whole[: whole.index(end.encode()) + len(end)])
    (project.root / ".dvc" / "tmp" / "rwlock").write_text("")
    done = project.run("layershap", "repro")
    assert "rwlock was half-written and is removed" in done.stderr
    assert digests(project) == project.undisturbed


def stages_running(project):
    """Return the process numbers of trainers in the project's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            python = "python" in (entry / "exe").readlink().name
            if python and "layershap\0train" in (entry / "cmdline").read_text():
                found += [int(entry.name)] if (entry / "cwd").readlink() == project.root else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize("attempt", range(TRIES))
def test_killing_dvc_alone_never_leaves_two_trainers(project, attempt):
    """Row 6."""
    project.change("train.epochs", 400 + attempt)
    project.change("train.patience", 400)
    command = ["dvc", "repro", "--single-item", "train"]
    process = subprocess.Popen(
        command, cwd=project.root, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (project.root / "work" / "running.json").exists() or not stages_running(project):
        assert process.poll() is None
        time.sleep(0.2)
    time.sleep(np.random.default_rng(attempt).uniform(1, 5))
    (trainer,) = stages_running(project)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    second = project.run(*command, expect=None)
    assert second.returncode != 0
    assert f"stage train is running as process {trainer}" in second.stderr + second.stdout
    assert stages_running(project) == [trainer]
    alone = project.run("layershap", "train", expect=75)
    assert "Traceback" not in alone.stderr
    os.kill(trainer, signal.SIGTERM)
    while stages_running(project):
        time.sleep(0.2)
    assert not (project.root / "models").exists()
