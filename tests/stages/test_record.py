"""Stage record: the run of a model that was restored or trained elsewhere; twice is once; studies in nobody's way."""

import json

import pytest

from project import Project, processor_seconds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


@pytest.fixture(scope="module")
def clone(tracked, tmp_path_factory):
    """Return a clone whose outs came by `dvc pull` from a remote that has everything, and what pull said."""
    folder = tmp_path_factory.mktemp("elsewhere")
    origin = tracked.copied_to(folder / "origin")
    origin.run("dvc", "remote", "add", "--default", "shared", str(folder / "remote"))
    origin.run("dvc", "push")
    origin.commit()
    origin.run("git", "clone", "-q", str(origin.root), str(folder / "clone"))
    clone = Project.at(folder / "clone")
    clone.pulled = clone.run("dvc", "pull")
    return clone


def points(project, run):
    """Return every point of every metric of a run, the machine's own apart."""
    client = project.client()
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in names
    }


def test_the_studies_do_not_stand_in_the_way(clone):
    assert "study" not in clone.pulled.stdout + clone.pulled.stderr
    for command in (["checkout"], ["status"], ["metrics", "diff"], ["data", "status"], ["pull"]):
        done = clone.run("dvc", *command)
        assert "study" not in done.stdout + done.stderr, command


def test_a_clone_makes_the_run_of_a_model_that_it_did_not_train(tracked, clone):
    done = clone.run("dvc", "repro")
    assert [line for line in done.stdout.splitlines() if "Running" in line] == ["Running stage 'record':"]
    # M8: MLflow's advice on type hints and signatures
    assert "Warning" not in done.stdout + done.stderr
    assert "\x1b[31m" not in done.stdout + done.stderr
    (run,) = clone.runs()
    first = min(tracked.runs(), key=lambda run: run.info.start_time)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "folder efficientnet_lite0"
    assert run.data.tags["layershap.detached"] == "true"
    assert run.data.params == first.data.params
    here, there = points(clone, run), points(tracked, first)
    assert here == {name: there[name] for name in here}
    assert set(here) == set(there)
    assert [step for step, _ in here["val_loss"]] == [1, 2, 3, 4]
    only_there = {name for name in tracked.artifacts(first) - clone.artifacts(run) if not name.startswith("images/")}
    assert only_there == {"source/uncommitted.patch"}


def test_the_champion_is_there_with_its_verdict(clone):
    version = clone.client().get_model_version_by_alias("layershap-folder", "champion")
    (run,) = clone.runs()
    assert version.run_id == run.info.run_id
    assert version.tags["layershap.gate"] == run.data.tags["layershap.gate"] == "PASS"


def test_then_there_is_nothing_to_do(clone):
    before = processor_seconds()
    done = clone.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert processor_seconds() - before < 3
    assert not clone.run("git", "status", "--porcelain").stdout


def test_recording_twice_changes_nothing(clone):
    (before,) = clone.runs()
    known, files = points(clone, before), clone.artifacts(before)
    done = clone.run("layershap", "record")
    assert "Warning" not in done.stderr
    (after,) = clone.runs()
    assert points(clone, after) == known
    assert clone.artifacts(after) == files
    assert (after.data.tags, after.data.params) == (before.data.tags, before.data.params)
    assert after.info.end_time == before.info.end_time
    assert len(clone.client().search_model_versions()) == 1


def test_a_model_explained_in_another_way_keeps_its_run_up_to_date(clone):
    gap = json.loads((clone.root / "metrics" / "explain.json").read_text())["largest_gap"]
    clone.change("explain.segments", 1)
    clone.run("dvc", "repro")
    (run,) = clone.runs()
    assert run.data.tags["layershap.changed.explain.segments"] == "1"
    assert run.data.metrics["explain/segments"] == 1
    clone.change("explain.segments", 2)
    clone.run("dvc", "repro")
    (run,) = clone.runs()
    assert "layershap.changed.explain.segments" not in run.data.tags
    assert run.data.metrics["explain/segments"] == 2
    assert run.data.metrics["explain/largest_gap"] == gap


def test_an_experiment_is_applied_without_a_word_of_the_studies(clone):
    before = len(clone.runs())
    done = clone.run("dvc", "exp", "run", "--name", "other", "-S", "train.epochs=2")
    assert "study" not in done.stdout + done.stderr
    assert len(clone.runs()) == before + 1
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "checkout")
    # the first model again, restored: its own run is up to date, and champion goes back to it
    clone.run("dvc", "repro")
    assert len(clone.runs()) == before + 1
    first = min(clone.runs(), key=lambda run: run.info.start_time)
    assert clone.client().get_model_version_by_alias("layershap-folder", "champion").run_id == first.info.run_id
    assert "study" not in (done := clone.run("dvc", "exp", "apply", "other")).stdout + done.stderr


def test_the_patch_can_be_left_out(clone):
    """M9: tracked files may hold secrets."""
    clone.change("tracking.patch", False)
    (clone.root / "params.yaml").write_text((clone.root / "params.yaml").read_text() + "# my secret\n")
    before = {run.info.run_id for run in clone.runs()}
    clone.run("dvc", "repro", "--single-item", "--force", "train")
    (run,) = [run for run in clone.runs() if run.info.run_id not in before]
    assert "source/uncommitted.patch" not in clone.artifacts(run)
