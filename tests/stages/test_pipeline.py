"""The whole pipeline with real DVC and a real SQLite store."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from layershap.reporting.explained.stored import StoredMaps
from layershap.tracking.names import safe_name
from project import Project, processor_seconds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0))
    project.run("dvc", "repro")
    return project


def read(project, name):
    return json.loads((project.root / name).read_text())


def test_metrics_have_what_others_rely_on(project):
    metrics = read(project, "metrics/evaluate.json")
    assert metrics["n_test"] == 12
    assert 0 <= metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"] <= 1
    assert metrics["cache_difference"] < 0.01
    assert read(project, "metrics/gate.json")["verdict"] in ("PASS", "WARN", "FAIL")
    assert read(project, "metrics/explain.json")["largest_relative_gap"] < 2e-4


def test_a_sum_is_judged_by_the_size_of_what_is_summed(project):
    """D11: what is above and below 0 may cancel, and then rounding is large beside the sum."""
    layers = pd.read_csv(project.root / "plots" / "layers.csv")
    expected = (layers["gap"].abs() / (layers["positive"] - layers["negative"])).max()
    assert read(project, "metrics/explain.json")["largest_relative_gap"] == pytest.approx(expected)


def test_one_run_holds_everything(project):
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == "0.001"
    assert run.data.metrics["accuracy"] == read(project, "metrics/evaluate.json")["accuracy"]
    assert {"train_loss", "val_accuracy", "layer/positive"} <= set(run.data.metrics)
    pictures = {path.relative_to(project.root) for path in project.root.glob("explanations/**/*.png")}
    pictures |= {path.relative_to(project.root) for path in project.root.glob("plots/**/*.png")}
    logged = project.artifacts(run)
    missing = {path.name for path in pictures} - {name.rpartition("/")[2] for name in logged}
    assert not missing
    assert len(pictures) == 2 * (18 + 2) + 1 + 3


def test_every_layer_has_a_picture_and_arrays_that_add_up(project):
    assert read(project, "metrics/explain.json")["references"] == 10
    used = (project.root / "explanations" / "references.csv").read_text().splitlines()[1:]
    assert len(set(used)) == 10
    stored = StoredMaps(project.root / "explanations")
    assert len(stored.names) == 2
    sums = np.stack([stored.maps(number).sum((1, 2)) for number in range(2, 20)])
    assert (np.ptp(sums, axis=0) <= 2e-4 * np.maximum(abs(sums.mean(0)), 0.1)).all()
    own, reference, heatmap = (stored.maps("block6", kind=kind) for kind in ("own", "reference", "heatmap"))
    np.testing.assert_allclose(own - reference, heatmap, atol=1e-5)
    for image in stored.names:
        names = sorted(path.name for path in (project.root / "explanations" / image).glob("*.png"))
        assert names[0] == "layer_02_stem.png"
        assert names[-1] == "layer_19_head_conv.png"
        assert len(names) == 18
        sheet = project.root / "explanations" / "contact_sheets" / f"{image}.png"
        assert min(Image.open(sheet).size) > 300


def test_nothing_to_do_takes_no_time(project):
    before = processor_seconds()
    done = project.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert processor_seconds() - before < 3


def test_an_environment_that_is_not_activated_works_too(project):
    """R5: the stages' commands are found beside the one that was called."""
    project.change("quality.images", 5)  # what report shows, and record records
    command = str(Path(sys.executable).with_name("layershap"))
    done = project.run(command, "repro", PATH="/usr/local/bin:/usr/bin:/bin")
    assert "Running stage 'report'" in done.stdout


def test_dvc_shows_metrics_and_plots(project):
    shown = project.run("dvc", "metrics", "show", "--json").stdout
    assert "accuracy_low" in shown
    # R6: a table that fits a screen
    table = project.run("dvc", "metrics", "show").stdout
    assert max(len(line) for line in table.splitlines()) <= 120
    project.run("dvc", "plots", "show")
    page = (project.root / "dvc_plots" / "index.html").read_text()
    for title in ("Loss by epoch", "Contributions by layer", "Test images by class", "confusion.png", "contact_sheets"):
        assert title in page


def test_explaining_again_adds_no_run_and_doubles_nothing(project):
    (before,) = project.runs()
    files = project.artifacts(before)
    project.run("dvc", "repro", "--single-item", "--force", "explain")
    (after,) = project.runs()
    assert project.artifacts(after) == files
    assert after.info.status == "FINISHED"
    assert after.data.metrics == before.data.metrics


@pytest.mark.parametrize("kind", ["mean", "blur"])
def test_a_single_reference_has_no_error_bar(project, kind):
    project.change("explain.reference", kind)
    project.run("dvc", "repro", "report")
    assert read(project, "metrics/explain.json")["references"] == 1
    assert read(project, "metrics/explain.json")["largest_relative_gap"] < 2e-4
    stored = StoredMaps(project.root / "explanations")
    assert np.isnan(stored.maps("block6", kind="standard_error")).all()
    assert np.isfinite(stored.maps("block6")).all()
    project.change("explain.reference", "images")


def test_segments_are_chosen_by_a_tolerance(project):
    project.change("explain.tolerance", 0.3)
    project.run("dvc", "repro", "explain")
    rows = (project.root / "plots" / "layers.csv").read_text().splitlines()
    column = rows[0].split(",").index("segments")
    numbers = [int(row.split(",")[column]) for row in rows[1:]]
    assert len(set(numbers)) > 1
    assert max(numbers) == read(project, "metrics/explain.json")["segments"]
    project.change("explain.tolerance", None)


def test_gate_exit_status_follows_the_verdict(project):
    project.run("dvc", "repro")
    assert project.run("layershap", "gate", "--check", expect=None).returncode in (0, 1)
    project.change("gate.min_accuracy", 1.0)
    metrics = read(project, "metrics/evaluate.json")
    if metrics["accuracy"] < 1:
        project.run("dvc", "repro")
        done = project.run("layershap", "gate", "--check", expect=1)
        assert "FAIL" in done.stdout
        assert read(project, "metrics/gate.json")["verdict"] == "FAIL"
    project.change("gate.min_accuracy", 0.0)
    project.run("layershap", "baseline")
    # the verdict was on another baseline
    assert "baseline" in project.run("layershap", "gate", "--check", expect=3).stdout
    project.run("dvc", "repro")
    done = project.run("layershap", "gate", "--check")
    assert "PASS" in done.stdout


def test_a_learning_rate_re_runs_neither_fetch_nor_extract(project):
    project.change("train.learning_rate", 0.002)
    done = project.run("dvc", "repro")
    for stage in ("fetch", "split", "extract"):
        assert f"Stage '{stage}' didn't change, skipping" in done.stdout
    assert "Running stage 'train'" in done.stdout
    assert len(project.runs()) == 2


def test_training_again_gives_the_same_bytes(project):
    before = (project.root / "models" / "model.pt").read_bytes()
    project.run("dvc", "repro", "--single-item", "--force", "train")
    assert (project.root / "models" / "model.pt").read_bytes() == before


def test_unfreezing_moves_the_boundary_and_evaluate_agrees_with_the_cache(project):
    project.change("model.unfreeze", 2)
    project.change("train.epochs", 1)
    project.run("dvc", "repro", "evaluate")
    assert read(project, "data/features/index.json")["shape"] == [192, 2, 2]
    assert read(project, "metrics/evaluate.json")["cache_difference"] < 0.01


LONG = "a class whose name has sixty letters and is therefore very long"
CLASSES = ("cats & dogs", "50%", "猫", LONG)


def test_classes_of_any_name_with_their_own_splits(tmp_path):
    """M2, P2: every metric is in MLflow, under names that it takes, and every picture is drawn."""
    from conftest import write_classes

    rng = np.random.default_rng(1)
    project = Project(tmp_path, rng, count=1)
    for part, count in (("train", 12), ("test", 4)):
        write_classes(tmp_path / "own" / part, rng, CLASSES, count=count)
    project.change("data.path", "own")
    project.change("explain.images", 4)
    done = project.run("dvc", "repro")
    assert "missing from" not in done.stdout + done.stderr  # glyphs
    metrics = read(project, "metrics/evaluate.json")
    assert metrics["n_test"] == 16
    assert set(metrics["per_class"]) == set(CLASSES)
    assert len(list((tmp_path / "explanations" / "contact_sheets").iterdir())) == 4
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    for name in CLASSES:
        assert run.data.metrics[f"test/per_class/{safe_name(name)}/recall"] == metrics["per_class"][name]["recall"]
    assert run.data.metrics["accuracy"] == metrics["accuracy"]
    assert not list((tmp_path / "work" / "spool").glob("*"))
    table = project.artifact(run, "names.csv").read_text()
    assert "cats :26: dogs,cats & dogs" in table
    grid = [name for name in project.artifacts(run) if name.startswith("images/") and name.endswith(".png")]
    assert len(grid) == 5
