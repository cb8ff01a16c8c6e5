"""Rows M2 to M5 with a real store: refused names, deleted runs and experiments, MLFLOW_RUN_ID, MLFLOW_EXPERIMENT_ID."""

import pytest

from layershap.tracking import store
from layershap.tracking.runs import MODEL_TAG, PARENT_TAG, join_run, open_run
from layershap.tracking.spool import spools
from layershap.tracking.sync import sync
from layershap.workspace.errors import TrackingError

pytestmark = pytest.mark.timeout(300)


def finished(project, name, model):
    """Train as stage train does."""
    run = open_run(name, project / f"{name}.memory")
    run.log_params({"name": name})
    run.set_tags({MODEL_TAG: model})
    run.finish()
    return run


def test_a_run_that_was_deleted_while_its_training_waited_gives_way_to_a_new_one(project):
    first = open_run("one", project / "memory")
    first.server.delete_run(first.run_id)
    second = open_run("one", project / "memory")
    assert second.reachable
    assert second.run_id != first.run_id
    assert open_run("one", project / "memory").run_id == second.run_id


def test_a_run_that_is_deleted_meanwhile_loses_nothing(project, capsys):
    run = open_run("one", project / "memory")
    run.server.delete_run(run.run_id)
    run.log_metrics({"value": 1.0}, step=1)
    assert "refuses this" in capsys.readouterr().err
    with pytest.raises(TrackingError, match="restore the run"):
        sync(print)
    store.connect().restore_run(run.run_id)
    assert sync(print) == 1
    assert store.connect().get_run(run.run_id).data.metrics == {"value": 1.0}


def test_a_deleted_experiment_is_named_and_nothing_is_lost(project, capsys):
    client = store.connect()
    experiment = store.experiment_id(client)
    client.delete_experiment(experiment)
    run = finished(project, "one", "model-1")
    assert not run.reachable
    said = capsys.readouterr().err
    assert "the experiment layershap was deleted" in said
    assert f"mlflow experiments restore -x {experiment}" in said
    assert "cannot be reached" not in said
    with pytest.raises(TrackingError, match="was deleted"):
        sync(print)
    client.restore_experiment(experiment)
    sync(print)
    (found,) = client.search_runs([experiment])
    assert (found.data.params, found.data.tags[MODEL_TAG]) == ({"name": "one"}, "model-1")
    assert not spools(store.spool_root())


def test_one_run_id_never_holds_two_models(project, monkeypatch):
    """M4."""
    client = store.connect()
    given = client.create_run(store.experiment_id(client)).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    first = finished(project, "one", "model-1")
    second = finished(project, "two", "model-2")
    assert first.run_id == given
    assert client.get_run(given).info.status == "RUNNING"  # it is its maker's to end
    assert second.run_id != given
    assert client.get_run(second.run_id).data.tags[PARENT_TAG] == given
    assert client.get_run(given).data.params == {"name": "one"}
    assert client.get_run(second.run_id).data.params == {"name": "two"}
    assert join_run("model-1").run_id == given
    assert join_run("model-2").run_id == second.run_id
    assert join_run("model-3").run_id not in (given, second.run_id)


def test_a_given_run_that_has_no_model_takes_a_restored_one(project, monkeypatch):
    client = store.connect()
    given = client.create_run(store.experiment_id(client)).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    assert join_run("model-1").run_id == given
    assert client.get_run(given).data.tags[MODEL_TAG] == "model-1"


def test_an_interrupted_training_goes_on_in_the_given_run(project, monkeypatch):
    client = store.connect()
    given = client.create_run(store.experiment_id(client)).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    assert open_run("one", project / "memory").run_id == given
    assert open_run("one", project / "memory").run_id == given


def test_a_run_id_that_is_nowhere_is_named(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(TrackingError, match="MLFLOW_RUN_ID"):
        open_run("one", project / "memory")


def test_the_experiment_of_the_environment_is_used(project, monkeypatch):
    """M5."""
    client = store.connect()
    other = client.create_experiment("other")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", other)
    run = finished(project, "one", "model-1")
    assert client.get_run(run.run_id).info.experiment_id == other
    assert join_run("model-1").run_id == run.run_id


def test_a_name_that_the_store_refuses_costs_no_other(project, capsys):
    """M2: the rest of the batch is there."""
    run = open_run("one", project / "memory")
    run.log_metrics({"good": 1.0, "x" * 80: {"y" * 90: {"z" * 95: 2.0}}, "also": 3.0})
    assert store.connect().get_run(run.run_id).data.metrics == {"good": 1.0, "also": 3.0}
    assert "MLflow refuses" in capsys.readouterr().err
    assert run.reachable


def test_another_number_at_the_same_step_is_the_newer_one(project):
    run = open_run("one", project / "memory")
    for value in (5.0, 3.0, 3.0):
        run.log_metrics({"test": {"loss": value}})
        run.log_series({"layer/positive": {"2": value, "3": 1.0}})
    client = store.connect()
    assert client.get_run(run.run_id).data.metrics == {"test/loss": 3.0, "layer/positive": 1.0}
    assert [point.value for point in client.get_metric_history(run.run_id, "test/loss")] == [5.0, 3.0]
    points = [(point.step, point.value) for point in client.get_metric_history(run.run_id, "layer/positive")]
    assert points == [(2, 5.0), (2, 3.0), (3, 1.0)]
