"""Runs that are known by a key: made once, below one another, also where the server was out of reach."""

import pytest

from layershap.tracking import store
from layershap.tracking.runs import PARENT_TAG, open_kept
from layershap.tracking.spool import spools
from layershap.tracking.sync import sync

pytestmark = pytest.mark.timeout(300)


def record():
    parent = open_kept("all", "all-1", {"kind": "test"})
    parent.log_metrics({"mean": 0.5})
    for number in range(2):
        run = open_kept(f"part {number}", f"all-1-{number}", {}, "all-1")
        run.log_metrics({"accuracy": number / 2})
        run.finish()
    parent.finish()


def found():
    client = store.connect()
    runs = client.search_runs([store.experiment_id(client)])
    return {run.info.run_name: run for run in runs}


def test_twice_is_as_once(project):
    record()
    first = {name: run.to_dictionary() for name, run in found().items()}
    assert sorted(first) == ["all", "part 0", "part 1"]
    record()
    assert {name: run.to_dictionary() for name, run in found().items()} == first


def test_what_could_not_be_sent_lies_below_its_parent_in_the_end(project, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    record()
    assert "cannot be reached" in capsys.readouterr().err
    record()  # goes to the same three
    assert len(spools(store.spool_root())) == 3
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync(print)
    runs = found()
    assert sorted(runs) == ["all", "part 0", "part 1"]
    for number in range(2):
        run = runs[f"part {number}"]
        assert run.data.tags[PARENT_TAG] == runs["all"].info.run_id
        assert run.data.metrics == {"accuracy": number / 2}
        assert run.info.status == "FINISHED"
    assert runs["all"].data.metrics == {"mean": 0.5}
    record()
    assert len(found()) == 3
