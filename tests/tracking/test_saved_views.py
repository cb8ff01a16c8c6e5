"""The views of MLflow's UI that the experiment keeps, in a real store; test_servers.py looks at them in a browser."""

import base64
import json
import zlib

import pytest

from layershap.tracking import model, store, views
from layershap.tracking.runs import open_run

pytestmark = pytest.mark.timeout(300)


def keys(tag):
    """Return the keys of the pictures in a view, read as the UI does."""
    state = json.loads(tag)["state"]
    assert state.startswith("deflate;")
    content = json.loads(zlib.decompress(base64.b64decode(state.partition(";")[2])))
    return [key for card in content["compareRunCharts"] for key in card["imageKeys"]]


def test_views_gather_the_pictures_of_all_runs_and_change_nothing_the_second_time(project):
    client = store.connect()
    experiment = store.experiment_id(client)
    client.set_experiment_tag(experiment, "mlflow.sharedViewState.mine", "the user's own")
    for pictures, found in ((), []), (["b", "a"], ["a", "b"]), (["c"], ["a", "b", "c"]), (["a"], ["a", "b", "c"]):
        views.arrange(client, experiment, pictures)
        tags = client.get_experiment(experiment).tags
        for view in views.NAMES:
            assert keys(tags[views.VIEW_TAG + view]) == found
        views.arrange(client, experiment)
        assert client.get_experiment(experiment).tags == tags
    assert tags["mlflow.sharedViewState.mine"] == "the user's own"
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_experiment_of_the_users_own_opens_on_training_runs_too(project, monkeypatch):
    client = store.connect()
    for name, kind in (("chosen", "genai_development"), ("plain", None)):
        tags = {"mlflow.experimentKind": kind} if kind else {}
        experiment = client.create_experiment(name, tags=tags)
        views.arrange(client, experiment)
        found = client.get_experiment(experiment).tags["mlflow.experimentKind"]
        assert found == (kind or "custom_model_development")


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"state": 3}', '{"state": "deflate;AAAA"}', '{"state": "deflate;?"}']
)
def test_a_view_that_cannot_be_read_is_written_anew(project, broken):
    client = store.connect()
    experiment = store.experiment_id(client)
    client.set_experiment_tag(experiment, views.VIEW_TAG + views.RUNS, broken)
    views.arrange(client, experiment, ["a"])
    assert keys(client.get_experiment(experiment).tags[views.VIEW_TAG + views.RUNS]) == ["a"]


def test_a_view_fits_a_tag_and_the_newest_pictures_come_first(rng):
    names = [f"contact sheet {rng.bytes(20).hex()}" for _ in range(500)]
    found = views.packed(views.PICTURES, names)
    assert len(found) <= views.LONGEST
    shown = keys(found)
    assert 20 < len(shown) < 500
    assert shown == sorted(names[: len(shown)])


def test_the_run_of_the_champion_says_so_and_no_other(project):
    client = store.connect()
    runs = [open_run(f"run {number}", project / f"memory {number}") for number in range(3)]
    client.create_registered_model("layershap-x_y")
    client.create_registered_model("layershap-x-y")
    for run in runs:
        client.create_model_version("layershap-x_y", f"runs:/{run.run_id}/model", run.run_id)
    client.create_model_version("layershap-x-y", f"runs:/{runs[2].run_id}/model", runs[2].run_id)
    client.set_tag(runs[2].run_id, model.CHAMPION_TAG, "layershap-x-y v1")  # of other data

    def champions():
        return [run.tags().get(model.CHAMPION_TAG) for run in runs]

    model.judge(client, runs[0].run_id, "WARN")
    assert champions() == [None, None, "layershap-x-y v1"]
    for _ in range(2):
        model.judge(client, runs[0].run_id, "PASS")
        assert champions() == ["layershap-x_y v1", None, "layershap-x-y v1"]
    model.judge(client, runs[1].run_id, "FAIL")
    assert champions() == ["layershap-x_y v1", None, "layershap-x-y v1"]
    model.judge(client, runs[1].run_id, "PASS")
    assert champions() == [None, "layershap-x_y v2", "layershap-x-y v1"]
    # the user moves the alias back, and deletes that run
    client.set_registered_model_alias("layershap-x_y", "champion", "1")
    client.delete_run(runs[0].run_id)
    model.judge(client, runs[1].run_id, "FAIL")
    assert champions()[1:] == [None, "layershap-x-y v1"]
