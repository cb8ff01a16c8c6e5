"""What a run holds after one `dvc repro`."""

import json
import re
import time

import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_there_is_one_finished_run(tracked):
    (run,) = tracked.runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "folder efficientnet_lite0"


def test_tags_say_where_it_comes_from(tracked):
    (run,) = tracked.runs()
    tags = run.data.tags
    commit = tracked.run("git", "rev-parse", "HEAD").stdout.strip()
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["git.branch"] in ("master", "main")
    assert tags["git.dirty"] == "true"  # the test changed a setting after the commit
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", tags["dvc.data"])
    assert re.fullmatch(r"[0-9a-f]{32}", tags["dvc.lock"])
    assert tags["layershap.backbone"] == "efficientnet_lite0"
    assert tags["machine.threads"] == "2"
    assert tags["version.torch"].startswith("2.")
    patch = tracked.artifact(run, "source/uncommitted.patch").read_text()
    assert "+  min_accuracy: 0.0" in patch


def test_data_sets_carry_the_digest_of_dvc(tracked):
    (run,) = tracked.runs()
    found = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(found) == {"training", "validation", "testing"}
    assert {item.digest for item in found.values()} == {run.data.tags["dvc.data"]}
    assert json.loads(found["testing"].profile)["num_rows"] == 12


def test_curves_have_a_point_for_each_epoch_and_layer(tracked):
    (run,) = tracked.runs()
    client = tracked.client()
    epochs = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
    assert epochs == [1, 2, 3, 4]
    layers = [metric.step for metric in client.get_metric_history(run.info.run_id, "layer/positive")]
    assert layers == list(range(2, 20))
    assert [name for name in run.data.metrics if name.startswith("system/cpu")]


def test_settings_stand_there_once(tracked):
    (run,) = tracked.runs()
    assert run.data.params["train.learning_rate"] == "0.001"
    assert run.data.params["explain.tolerance"] == "None"


def test_the_image_grid_has_a_sheet_of_each_class(tracked):
    (run,) = tracked.runs()
    names = [name for name in tracked.artifacts(run) if name.startswith("images/") and name.endswith(".png")]
    assert len([name for name in names if "contact" in name]) == 2
    assert len([name for name in names if "contributions" in name]) == 1
    for name in names:
        assert Image.open(tracked.artifact(run, name)).size[0] > 300


def test_the_report_stands_alone(tracked):
    (run,) = tracked.runs()
    page = tracked.artifact(run, "report.html").read_text()
    metrics = json.loads((tracked.root / "metrics" / "evaluate.json").read_text())
    assert f"{metrics['accuracy'] * 100:.1f} %" in page
    # sheets, curve, layers, confusion, reliability, and mistakes where there are any: else a sentence
    assert page.count("data:image/png;base64,") == 2 + 1 + 1 + 2 + (metrics["accuracy"] < 1)
    assert ("No mistakes" in page) == (metrics["accuracy"] == 1)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert len(re.findall(r"<tr><td>\d+</td><td>\w+</td>", page)) == 18
    assert str(tracked.root) not in page


def test_the_model_card_is_the_runs_description(tracked):
    (run,) = tracked.runs()
    card = tracked.artifact(run, "model_card.md").read_text()
    assert run.data.tags["mlflow.note.content"] == card
    metrics = json.loads((tracked.root / "metrics" / "evaluate.json").read_text())
    assert f"{metrics['accuracy_low']:.4f} to {metrics['accuracy_high']:.4f}" in card
    assert "Licence" in card
    for name in ("disc", "square"):
        assert re.search(rf"\| {name} \| \d+ \| \d+ \| 6 \|", card)


def test_explaining_again_adds_no_run_and_doubles_nothing(tracked):
    (before,) = tracked.runs()
    files = tracked.artifacts(before)
    client = tracked.client()
    history = client.get_metric_history(before.info.run_id, "layer/positive")
    for stage in ("explain", "report", "gate"):
        tracked.run("dvc", "repro", "--single-item", "--force", stage)
    (after,) = tracked.runs()
    assert tracked.artifacts(after) == files
    assert after.info.status == "FINISHED"
    assert after.data.metrics == before.data.metrics
    assert len(client.get_metric_history(before.info.run_id, "layer/positive")) == len(history)
    assert len(client.search_model_versions()) == 1


def test_a_temporary_experiment_writes_to_the_same_store(tracked):
    before = {run.info.run_id for run in tracked.runs()}
    tracked.run("dvc", "exp", "run", "--temp", "-S", "train.learning_rate=0.002", "-S", "train.epochs=2")
    (run,) = [run for run in tracked.runs() if run.info.run_id not in before]
    assert run.data.params["train.learning_rate"] == "0.002"
    assert run.info.status == "FINISHED"
    assert run.data.tags["dvc.experiment"]
    assert tracked.artifact(run, "report.html").exists()
    shown = tracked.run("dvc", "exp", "show", "--json").stdout
    assert run.data.tags["dvc.experiment"] in shown
    started = time.perf_counter()
    tracked.run("dvc", "exp", "diff", "HEAD", run.data.tags["dvc.experiment"])
    assert time.perf_counter() - started < 60
