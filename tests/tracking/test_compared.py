"""Runs as `layershap compare` reads them from a real store: names, what a run lacks, names that MLflow refuses."""

import numpy as np
import pandas as pd
import pytest

from layershap.tracking import compared
from layershap.tracking.runs import MODEL_TAG, open_run, run_with_model
from layershap.workspace import paths
from layershap.workspace.errors import InputError, TrackingError


def finished(project, name, **metrics):
    """Write a run as the stages do."""
    run = open_run(name, project / f"{name}.memory")
    run.log_params({"head": {"hidden": [8]}, "gate": {"max_drop": None}})
    run.log_metrics(metrics)
    run.set_tags({MODEL_TAG: f"digest of {name}"})
    run.finish()
    (project / f"{name}.memory").unlink()
    return run


def test_a_run_is_found_by_its_id_and_its_name(project):
    run = finished(project, "one's", accuracy=0.5)
    plain = finished(project, "two words", accuracy=0.5)
    assert compared.find_run(run.run_id).info.run_id == run.run_id
    assert compared.find_run("two words").info.run_id == plain.run_id
    assert compared.find_run("three") is None
    assert compared.find_run("0" * 32) is None
    assert {"one's", "two words"} <= set(compared.known_names())


def test_several_runs_of_one_name_are_told_apart_by_their_ids(project):
    runs = [finished(project, "same", accuracy=0.5) for _ in range(2)]
    with pytest.raises(InputError, match="2 runs are called 'same'") as error:
        compared.find_run("same")
    assert all(run.run_id in str(error.value) for run in runs)


def test_a_deleted_run_and_one_without_a_model_are_named(project, tmp_path):
    run = finished(project, "gone", accuracy=0.5)
    run.server.delete_run(run.run_id)
    with pytest.raises(InputError, match="was deleted"):
        compared.find_run(run.run_id)
    finished(project, "bare")
    with pytest.raises(InputError, match="no accuracy"):
        compared.read_run("run", "bare", compared.find_run("bare"), tmp_path / "bare")


def test_what_a_run_does_not_hold_is_said_with_the_way_to_it(project, tmp_path):
    finished(project, "old", accuracy=0.5)
    side = compared.read_run("run", "old", compared.find_run("old"), tmp_path / "old")
    predictions, maps = side.lacking
    assert "evaluation/predictions.csv" in predictions and "layershap record" in predictions
    assert "100 MB" in maps and "revision" in maps
    assert side.file(paths.EXPLAINED_ARRAYS) is None and side.file(paths.LEARNING_CURVE) is None
    assert side.settings == {"head.hidden": "[8]", "gate.max_drop": "null"}


def test_settings_and_classes_come_back_as_they_were(project, tmp_path):
    run = open_run("x", project / "memory")
    run.log_params({"gate": {"max_drop": 0.02}})
    run.log_params({"gate": {"max_drop": None}})  # another now, which changed no model
    run.log_metrics({"accuracy": 1.0, "test": {"f1": 0.5, "per_class": {"cats & dogs": {"f1": 0.25}}}})
    table = pd.DataFrame({"path": ["a"], "label": ["cats & dogs"], "pixels": ["00000000"], "p_cats & dogs": [1.0]})
    paths.PREDICTIONS.parent.mkdir()
    table.to_csv(paths.PREDICTIONS, index=False)
    run.log_artifacts(paths.PREDICTIONS, "evaluation")
    run.log_series({"train_loss": {"1": 0.5, "2": 0.25}})
    side = compared.read_run("run", "x", compared.find_run("x"), tmp_path / "x")
    assert side.settings == {"gate.max_drop": "null"}
    assert side.numbers == {"accuracy": 1.0, "f1": 0.5, "per_class/cats & dogs/f1": 0.25}
    curve = pd.read_csv(side.folder / paths.LEARNING_CURVE)
    assert curve["epoch"].tolist() == [0, 1]
    np.testing.assert_allclose(curve["train_loss"], [0.5, 0.25])


def test_the_run_of_a_model_is_found_and_none_is_made(project):
    run = finished(project, "one", accuracy=0.5)
    assert run_with_model("digest of one").run_id == run.run_id
    assert run_with_model("digest of another") is None
    assert len(run.server.search_runs(["1"])) == 1


def test_a_store_out_of_reach_is_one_sentence(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="cannot be reached"):
        compared.find_run("x")
    assert compared.known_names() == []
