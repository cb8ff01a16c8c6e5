"""Promotion by hand, on a real store: what is refused, what changes."""

import pytest

from layershap.tracking import lineage, model, store
from layershap.tracking.promotion import PROMOTED_TAG, promote
from layershap.tracking.runs import join_run
from layershap.workspace.errors import InputError, TrackingError

pytestmark = pytest.mark.timeout(300)

NAME = "layershap-folder"


@pytest.fixture
def registered(project, monkeypatch):
    """Return a client of a store with two registered models, `first` and `second`, without verdicts."""
    monkeypatch.setattr(lineage, "user", lambda: "Ann")
    client = store.connect()
    client.create_registered_model(NAME)
    for digest in ("first", "second"):
        run = join_run(digest)
        client.create_model_version(NAME, f"runs:/{run.run_id}/model", run.run_id)
    return client


def champion(client):
    found = client.get_registered_model(NAME).aliases.get("champion")
    return None if found is None else int(found)


def judge(client, digest, verdict, promoted):
    model.judge(client, join_run(digest).run_id, verdict, promoted)


def test_a_pass_promotes_by_gate_and_not_by_hand(registered):
    judge(registered, "first", "PASS", False)
    assert champion(registered) is None
    judge(registered, "first", "FAIL", True)
    assert champion(registered) is None
    judge(registered, "first", "PASS", True)
    assert champion(registered) == 1


def test_a_model_is_promoted_and_again_the_earlier_one(registered):
    for digest in ("first", "second"):
        judge(registered, digest, "PASS", False)
    assert promote("first") == f"{NAME} version 1 is champion now (there was none)"
    assert promote("second") == f"{NAME} version 2 is champion now (it was version 1)"
    assert champion(registered) == 2
    assert registered.get_model_version(NAME, "2").tags[PROMOTED_TAG] == "Ann"
    assert promote("second") == f"{NAME} version 2 is champion already"
    assert promote("first") == f"{NAME} version 1 is champion now (it was version 2)"
    assert champion(registered) == 1


@pytest.mark.parametrize(
    ("digest", "verdict", "said"),
    [
        ("third", "PASS", "not registered at .*dvc repro"),
        ("first", None, "version 1 is none at .*layershap record"),
        ("first", "FAIL", "version 1 is FAIL at .*layershap record"),
    ],
)
def test_what_did_not_pass_is_not_promoted(registered, digest, verdict, said):
    if verdict:
        judge(registered, "first", verdict, False)
    with pytest.raises(InputError, match=said):
        promote(digest)
    assert champion(registered) is None


def test_what_waits_is_sent_first_and_a_server_that_is_away_is_named(registered, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 cannot be reached"):
        promote("first")
    join_run("first").log_metrics({"value": 1.0})
    with pytest.raises(InputError, match="layershap sync"):
        promote("first")
