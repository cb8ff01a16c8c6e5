"""Row R3: an experiment in a temporary copy finds the images that git does not carry."""

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from conftest import write_classes
from layershap.workspace.experiment import bring_own_files
from project import Project


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a repository, and a copy of it as DVC makes one; the copy is where a stage runs."""
    root = tmp_path / "project"
    copy = root / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    for folder in (root, copy):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("dvc.yaml", "params.yaml"):
            (folder / name).write_text("stages: {}\n")
        (folder / "data" / "own").mkdir(parents=True)
        (folder / "data" / "own" / "README.md").write_text(f"of {folder.name}")
    (root / "data" / "own" / "cat").mkdir()
    (root / "data" / "own" / "cat" / "1.png").write_text("a cat")
    monkeypatch.setenv("DVC_ROOT", str(copy))
    monkeypatch.chdir(copy)
    return root, copy


@pytest.mark.parametrize("said", ["root", "copy"])
def test_what_git_does_not_carry_is_brought(copy, tmp_path, monkeypatch, said):
    root, copied = copy
    monkeypatch.setenv("DVC_ROOT", str(root if said == "root" else copied))  # DVC says either
    bring_own_files(Path("data/own"))
    assert (copied / "data" / "own" / "cat" / "1.png").read_text() == "a cat"
    assert (copied / "data" / "own" / "README.md").read_text() == "of tmp1"
    (root / "weights.pt").write_text("w")
    bring_own_files(Path("weights.pt"))
    assert (copied / "weights.pt").read_text() == "w"
    bring_own_files(tmp_path / "elsewhere")
    bring_own_files(Path("nowhere"))


def test_in_the_repository_nothing_is_done(copy, monkeypatch):
    root, _ = copy
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    before = sorted(root.rglob("*"))
    bring_own_files(Path("data/own"))
    assert sorted(root.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_temporary_experiment_trains_on_the_users_own_folder(tmp_path):
    project = Project(tmp_path / "project", np.random.default_rng(0))
    (project.root / "data" / "own").mkdir(parents=True)
    (project.root / "data" / "own" / "README.md").write_text("what git carries")
    write_classes(project.root / "data" / "own", np.random.default_rng(1), count=16)
    project.change("data.path", "data/own")
    project.run("dvc", "repro", "train")
    project.commit()
    project.run("dvc", "exp", "run", "--temp", "--name", "other", "-S", "train.epochs=2", "train")
    names = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (name,) = [name for name in names if name.endswith("/other")]
    found = YAML(typ="safe").load(project.run("git", "show", f"{name}:dvc.lock").stdout)["stages"]
    known = YAML(typ="safe").load(project.root / "dvc.lock")["stages"]
    for stage in ("fetch", "split", "extract"):
        assert found[stage] == known[stage]
    assert found["train"] != known["train"]
