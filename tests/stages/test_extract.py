"""Stage extract as it is run: by one process or two, with workers or without, the same files."""

import numpy as np
import pytest

from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """150 images of a class are three shards of 128, 128 and 44."""
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), count=150)
    project.change("trainer.accelerator", "cpu")
    project.run("layershap", "fetch")
    project.run("layershap", "extract")
    project.alone = features(project)
    return project


def features(project):
    folder = project.root / "data" / "features"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_are_there(project):
    views = ("original", "flip_horizontal")
    assert set(project.alone) == {"index.json"} | {f"{view}/0000{shard}.npy" for view in views for shard in range(3)}


@pytest.mark.parametrize(("devices", "workers"), [(1, 2), (2, 0), (2, 1)])
def test_processes_and_workers_change_no_byte(project, devices, workers):
    project.change("trainer.devices", devices)
    project.change("loader.workers", workers)
    project.run("layershap", "extract")
    assert features(project) == project.alone
    assert not (project.root / "data" / "features.partial").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_was_harmed_since_is_one_line_and_the_old_features_stay(project, workers):
    project.change("trainer.devices", 1)
    project.change("loader.workers", workers)
    file = project.root / "data" / "raw" / "disc" / "079.png"
    whole = file.read_bytes()
    file.write_bytes(b"text")
    try:
        failed = project.run("layershap", "extract", expect=3)
    finally:
        file.write_bytes(whole)
    assert failed.stderr.splitlines()[-1].startswith("layershap: data/raw/disc/079.png: not an image of a known format")
    assert "Traceback" not in failed.stderr
    assert features(project) == project.alone
    assert not (project.root / "data" / "features.partial").exists()


def test_random_views_are_the_same_by_processes_and_workers(project):
    changes = {"augment.policy": "strong", "extract.views": 3, "trainer.devices": 1, "loader.workers": 0}
    for name, value in changes.items():
        project.change(name, value)
    project.run("layershap", "extract")
    alone = features(project)
    assert {name.partition("/")[0] for name in alone} == {"index.json", "original", "strong_1", "strong_2"}
    assert alone["original/00000.npy"] == project.alone["original/00000.npy"]
    project.change("trainer.devices", 2)
    project.change("loader.workers", 1)
    project.run("layershap", "extract")
    assert features(project) == alone
    project.change("extract.seed", 1)
    project.run("layershap", "extract")
    other = features(project)
    assert {name for name in alone if other[name] != alone[name]} == {
        f"strong_{view}/0000{shard}.npy" for view in (1, 2) for shard in range(3)
    }
