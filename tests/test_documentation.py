"""Every command of README.md and docs/ is run as it is written, in order, on few images and with few epochs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import REPOSITORY, write_classes
from layershap.torchvision_guard import torchvision
from pages import lines
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PAGES = ["README.md", *sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md"))]
PAGES += ["CONTRIBUTING.md", "data/own/README.md", "data/own_masks/README.md", "baseline/README.md"]
COMMANDS = ("make", "dvc", "layershap", "mlflow", "curl", "python", "pytest", "pip", "git", "export", ".")
NOT_RUN = {
    "make test": "it is what runs this",
    "make test-all": "it is what runs this",
    "make env": "the environment of the tests is one that it made",
    "make paper": "needs a network; tests/data/test_sources.py serves its archives on the loopback",
    "pip install pre-commit && pre-commit install": "needs a network; its hooks are those of make lint",
    "pip install 'optuna>=4'": "needs a network",
    "make search SPACE=head TRIALS=20": "needs Optuna, which make env does not install; tests/stages/test_search.py",
    "layershap search learning --trials 40": "as make search",
    "git clone <this repository> && cd layershap": "no command but a pattern",
}
ELSEWHERE = ("docs/team.md",)  # needs servers: tests/team runs all of it
HEALTH = {"make ui": "http://127.0.0.1:5000/health", "mlflow models serve": "http://127.0.0.1:{port}/ping"}
SETTINGS = {
    "data": {"per_class": 24},
    "model": {"image_size": 64, "backbone": "resnet18"},
    "head": {"hidden": [8]},
    "train": {"epochs": 2},
    "explain": {"references": 2, "segments": 1, "images": 2, "mistakes": 0},
    "gate": {"min_accuracy": 0.0},
    "quality": {"images": 2, "references": 2},
    "other_faces": {"images": 2, "sets": 2},
}


def commands(page: str) -> list[str]:
    """Return the commands of a page in order."""
    return [line for line in lines((REPOSITORY / page).read_text()) if line.split(" ")[0] in COMMANDS]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), SETTINGS)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, project.root)
    shutil.copytree(REPOSITORY / "benchmarks", project.root / "benchmarks")
    (project.root / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "results.md", project.root / "docs")  # which one of its commands writes
    shutil.copytree(REPOSITORY / "data" / "own", project.root / "data" / "own")
    shutil.copytree(REPOSITORY / "tests" / "explain", project.root / "tests" / "explain")
    for name in ("conftest.py", "nets.py"):
        shutil.copy(REPOSITORY / "tests" / name, project.root / "tests")
    (project.root / ".venv").mkdir()
    (project.root / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (project.root / ".venv" / "ready").touch()
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 4)):
        write_classes(project.root.parent / "pictures" / part, rng, ("cat", "dog"), count=count)
    Image.new("RGB", (90, 70), (90, 60, 30)).save(project.root / "photo.jpg")
    Image.new("L", (80, 80), 90).save(project.root / "cell.png")
    weights = project.root.parent / "resnet18.pt"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    project.change("model.weights", str(weights))
    project.commit()
    project.run("dvc", "repro")  # what the pages after README start from
    project.run("layershap", "baseline")
    project.run("dvc", "repro")
    project.commit()
    return project


def written_for_here(project, command: str) -> str:
    """Return a command with the names that a page leaves to the reader."""
    folder = project.root.parent / "pictures"
    if "benchmarks/accuracy.py" in command:
        command += " --seeds 2"
    return re.sub(r"/path/to/\w+|\bDIR\b", str(folder), command)


def start(project, command: str, environment: dict[str, str]) -> subprocess.Popen:
    """Start a server as the page says and wait until it answers."""
    kind = next(kind for kind in HEALTH if command.startswith(kind))
    port = re.search(r"--port (\d+)", command)
    address = HEALTH[kind].format(port=port[1] if port else 5000)
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, shell=True, cwd=project.root, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=2).read()
            return process
        except OSError:
            time.sleep(0.5)
            assert process.poll() is None, (project.root / "server.log").read_text()
    raise AssertionError((project.root / "server.log").read_text())


def stop(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page) and page not in ELSEWHERE])
def test_commands_run_as_they_are_written(project, page):
    environment, servers = project.environment(), []
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout")
    try:
        for command in commands(page):
            if command in NOT_RUN:
                continue
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
            elif any(command.startswith(kind) for kind in HEALTH):
                if servers and "--port" not in command:
                    stop(servers.pop())  # both use MLflow's own port
                servers.append(start(project, command, environment))
            else:
                done = subprocess.run(
                    ["bash", "-c", written_for_here(project, command)],
                    cwd=project.root,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=900,
                    check=False,
                )
                assert done.returncode == 0, f"{page}: {command}\n{done.stdout}\n{done.stderr}"
    finally:
        for process in servers:
            stop(process)


@pytest.mark.parametrize("page", PAGES)
def test_python_runs_as_it_is_written(project, page):
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout")
    for text in re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), flags=re.S):
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_what_is_not_run_is_still_written():
    written = {command for page in PAGES for command in commands(page)}
    assert set(NOT_RUN) <= written


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (REPOSITORY / page).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (REPOSITORY / page).parent.joinpath(target).exists(), target
