"""Stage explain interrupted, and divided among processes: the outs are the bytes of one undisturbed process."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from layershap.data.tables import Dataset
from layershap.hardware.processes import Processes
from layershap.reporting.explained.stored import StoredMaps
from layershap.stages import explain
from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.files import remove
from layershap.workspace.params import load_params
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OUTS = (paths.EXPLANATIONS, paths.LAYERS_TABLE, paths.EXPLAIN_METRICS)


class OneAfterTheOther(Processes):
    """A process of several that waits for none: the test runs them one after the other."""

    def wait(self):
        pass


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project with a model that is wrong about some test images; three layers keep it quick."""
    project = Project(tmp_path_factory.mktemp("many"), np.random.default_rng(0), count=16)
    for name, value in {
        "model.layers": ["stem", "block8"],
        "train.epochs": 1,
        "train.learning_rate": 1e-6,
        "explain.images": 4,
        "explain.mistakes": 2,
        "explain.pictures": 3,
        "explain.more_references": 0,
        "runtime.threads": 1,
    }.items():
        project.change(name, value)
    project.run("dvc", "repro", "evaluate")
    project.run("layershap", "explain")
    project.undisturbed = outs(project)
    return project


@pytest.fixture
def here(project, monkeypatch):
    """Stand in the project, whose outs of stage explain are away."""
    monkeypatch.chdir(project.root)
    for out in (*OUTS, paths.EXPLAIN_WORK):
        remove(project.root / out)
    torch.set_num_threads(1)
    return project


def outs(project) -> dict[str, str]:
    """Return the digest of every file that stage explain writes."""
    files = [file for out in OUTS for file in [project.root / out, *(project.root / out).rglob("*")] if file.is_file()]
    assert len(files) > 20
    return {str(file.relative_to(project.root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def begin(processes: Processes) -> explain.Work:
    return explain.Work.begin(load_params(), Dataset.read(), processes)


def test_mistakes_are_marked_and_few_images_have_pictures(project):
    images = pd.read_csv(project.root / paths.EXPLAINED_IMAGES)
    assert images["chosen"].tolist() == ["image"] * 4 + ["mistake"] * 2
    assert not images["correct"][4:].any()
    assert images["label"].tolist()[:4] == ["disc", "square"] * 2
    pictured = set(images[images["picture"] == 1]["name"])
    assert len(pictured) == 3 and images["picture"][4:].all()
    for folder in (paths.CONTACT_SHEETS, paths.PLATES):
        assert {file.stem for file in (project.root / folder).iterdir()} == pictured
    assert {file.parent.name for file in (project.root / paths.EXPLANATIONS).glob("*/layer_*.png")} == pictured
    layers = pd.read_csv(project.root / paths.LAYERS_TABLE)
    assert list(layers["image"].unique()) == images["name"].tolist()
    assert len(layers) == 6 * layers["layer"].nunique()


def test_arrays_are_the_explanations(project, monkeypatch):
    monkeypatch.chdir(project.root)
    torch.set_num_threads(1)
    work, stored = begin(Processes()), StoredMaps()
    image = explain.load_batch([paths.RAW / stored.images[5]["path"]], work.description.image_size)
    found = explain.explain_one(work.model, image, work.references, work.settings)
    for (number, _), layer in found.items():
        for kind in ("heatmap", "standard_error", "own", "reference"):
            np.testing.assert_array_equal(stored.maps(number, kind=kind)[5], getattr(layer, kind)[0].numpy())


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_divide_the_images_end_in_the_same_bytes(here, count, capsys):
    """Also more processes than images."""
    for rank in range(count):
        processes = OneAfterTheOther(rank, count)
        work = begin(processes)
        work.explain_share(processes)
        there = [index for index in range(6) if work.parts.there(index)]
        assert there == [index for index in range(6) if index % count <= rank]
        assert not paths.EXPLANATIONS.exists()
        if rank:
            assert "image" not in capsys.readouterr().out
    explain.finish(work, Dataset.read())
    assert outs(here) == here.undisturbed
    assert not work.parts.folder.exists()


def test_parts_of_an_earlier_start_are_used_and_broken_ones_made_again(here, capsys):
    work = begin(Processes())
    for index in (0, 2, 3):
        work.explain_image(index)
    place = work.parts.place
    arrays = place(2) / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    place(3).rename(place(3).with_name("000003.partial"))
    before = (place(0) / "numbers.json").stat()
    made = []

    class Watched(explain.Work):
        def explain_image(self, index):
            made.append(index)
            super().explain_image(index)

    Watched(**vars(work)).explain_share(Processes())
    assert made == [1, 2, 3, 4, 5]
    assert (place(0) / "numbers.json").stat().st_ino == before.st_ino
    assert "1 of 6 images are done already" in capsys.readouterr().out
    explain.finish(work, Dataset.read())
    assert outs(here) == here.undisturbed


def test_other_settings_or_another_model_have_parts_of_their_own(here):
    first = begin(Processes()).parts.folder
    assert begin(Processes()).parts.folder == first
    here.change("explain.seed", 1)
    assert begin(Processes()).parts.folder != first
    here.change("explain.seed", 0)
    card = here.root / paths.MODEL_CARD
    content = card.read_text()
    card.write_text(content + "\n")
    assert begin(Processes()).parts.folder != first
    card.write_text(content)


def test_a_missing_part_is_named_and_nothing_is_written(here):
    work = begin(Processes())
    work.explain_image(0)
    with pytest.raises(InputError, match="5 of 6 explained images have no part"):
        explain.finish(work, Dataset.read())
    assert not paths.EXPLANATIONS.exists() and not paths.EXPLAIN_METRICS.exists()
    work.explain_share(Processes())
    explain.finish(work, Dataset.read())
    assert outs(here) == here.undisturbed


def test_a_killed_stage_goes_on_with_what_it_has(here):
    process = subprocess.Popen(
        [sys.executable, "-m", "layershap.cli", "explain"], cwd=here.root, env=here.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    work = here.root / paths.EXPLAIN_WORK
    while len(there := [place for place in work.glob("*/*") if place.name.isdigit()]) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (here.root / paths.EXPLANATIONS).exists()
    done = here.run("layershap", "explain")
    count = next(int(line.split()[0]) for line in done.stdout.splitlines() if "are done already" in line)
    assert count >= len(there)
    assert outs(here) == here.undisturbed
    assert not list(work.iterdir())
