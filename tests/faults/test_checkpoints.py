"""Row 7: a last checkpoint that is truncated, empty or something else is set aside, and training goes on or anew."""

import shutil
import subprocess

import numpy as np
import pytest

from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A project whose training was killed after a few epochs, and the weights of an undisturbed one."""
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 12, "patience": 12}}
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), settings)
    project.run("dvc", "repro", "train")
    project.undisturbed = (project.root / "models" / "model.pt").read_bytes()
    process = subprocess.Popen(
        ["layershap", "train"], cwd=project.root, env=project.environment(), stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "epoch 5 of" in line:
            process.kill()
            break
    process.wait()
    (project.work,) = (project.root / "work" / "train").iterdir()
    shutil.copytree(project.work, project.root / "kept")
    return project


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


BROKEN = {
    "truncated": ({"last.ckpt": cut}, "going on from", 1),
    "empty": ({"last.ckpt": lambda path: path.write_bytes(b"")}, "going on from", 1),
    "a pickle": ({"last.ckpt": lambda path: path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")}, "going on from", 1),
    "the best one": ({"best.ckpt": cut}, "of no use without the best epoch", 1),
    "both": ({"last.ckpt": cut, "best.ckpt": cut}, "is set aside", 2),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_is_set_aside(interrupted, kind):
    change, said, count = BROKEN[kind]
    shutil.rmtree(interrupted.work, ignore_errors=True)
    shutil.copytree(interrupted.root / "kept", interrupted.work)
    for name, spoil in change.items():
        spoil(interrupted.work / name)
    done = interrupted.run("layershap", "train")
    assert done.stderr.count("cannot be read") == count
    assert said in done.stderr
    assert (interrupted.root / "models" / "model.pt").read_bytes() == interrupted.undisturbed
    assert not (interrupted.root / "ran").exists()
