"""The command that a launcher starts, with real programs."""

import subprocess
import sys

import pytest
import torch

from conftest import REPOSITORY
from project import Project


@pytest.fixture
def project(tmp_path, rng):
    return Project(tmp_path / "project", rng, count=2)


def test_the_launcher_gets_the_stages_command(project):
    project.change("launcher", "echo started:")
    done = project.run("layershap", "extract")
    assert done.stdout.startswith("started: ")
    assert done.stdout.split()[-1] == "extract"
    # it is a program for srun and a Python file for torchrun
    command = done.stdout.split()[1]
    assert subprocess.run([command, "--version"], capture_output=True, check=True).stdout
    assert subprocess.run([sys.executable, command, "--version"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("stage", ["fetch", "split", "gate", "report"])
def test_other_stages_are_for_one_process(project, stage):
    project.change("launcher", "echo started:")
    assert "started:" not in project.run("layershap", stage, expect=None).stdout


def test_a_launcher_that_is_not_there_is_named(project):
    project.change("launcher", "srunn -N 2")
    done = project.run("layershap", "train", expect=2)
    assert "launcher: no program 'srunn'" in done.stderr


def test_several_machines_need_a_launcher(project):
    project.change("trainer.num_nodes", 2)
    project.change("trainer.accelerator", "cpu")
    done = project.run("layershap", "train", expect=2)
    assert "trainer.num_nodes" in done.stderr and "launcher" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
@pytest.mark.parametrize(
    ("name", "value"), [("trainer.accelerator", "gpu"), ("trainer.precision", "16-mixed"), ("trainer.num_nodes", 2)]
)
def test_hardware_that_is_not_there_is_named_before_any_stage(project, name, value):
    project.change(name, value)
    done = project.run("layershap", "repro", expect=2)
    assert (
        name.partition(".")[0] in done.stderr
        and str(value if name != "trainer.num_nodes" else "launcher") in done.stderr
    )
    assert not (project.root / "data" / "images.csv").exists()


def test_the_launcher_is_no_dependency():
    """The same bytes come from one process and from many, so that nothing runs again where it is changed."""
    text = (REPOSITORY / "dvc.yaml").read_text()
    assert "launcher" not in text and "loader." not in text
