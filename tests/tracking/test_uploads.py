"""Pictures that are sent again, and runs that the server refuses, with a real store."""

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from layershap.tracking import record, store
from layershap.tracking.pictures import EXPLANATIONS_TAG, SMALL
from layershap.tracking.run import JOIN
from layershap.tracking.runs import open_run
from layershap.tracking.spool import Spool
from layershap.tracking.sync import sync
from layershap.workspace.errors import TrackingError

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return tmp_path


def pictures(run):
    return sorted(file.path for file in run.server.list_artifacts(run.run_id, "images"))


def test_pictures_sent_again_after_a_kill_are_there_once(project):
    run = open_run("run", project / "memory")
    Image.new("RGB", (20, 20), "red").save(project / "red.png")
    shown = {"contact sheet é (1)": project / "red.png", "contact sheet": project / "red.png"}
    run.log_images(shown, "first")
    once = pictures(run)
    assert len(once) == 4  # each with its small version
    # a kill before the last call
    run.server.delete_tag(run.run_id, EXPLANATIONS_TAG)
    run.log_images(shown, "first")
    assert pictures(run) == once
    run.log_images(shown, "first")
    assert pictures(run) == once
    run.log_images(shown, "second")
    assert pictures(run) == once
    assert run.reachable


def colours(run, kind):
    """Return size and colour of each picture of the grid, by its key."""
    found = {}
    for path in pictures(run):
        if path.endswith(kind):
            with Image.open(run.server.download_artifacts(run.run_id, path)) as picture:
                found[path.removeprefix("images/").partition("+")[0]] = (
                    picture.size,
                    picture.convert("RGB").getpixel((5, 5)),
                )
    return found


def test_the_grid_shows_the_small_picture_and_a_click_the_whole_one(project):
    run = open_run("run", project / "memory")
    Image.new("RGB", (900, 300), "red").save(project / "whole.png")
    Image.new("RGB", (360, 360), "blue").save(project / "small.png")
    shown = {"with": project / "whole.png", "without": project / "whole.png"}
    run.log_images(shown, "first", {"with": project / "small.png"})
    red, blue = (255, 0, 0), (0, 0, 255)
    assert colours(run, ".png") == {"with": ((900, 300), red), "without": ((900, 300), red)}
    assert colours(run, ".webp") == {"with": ((360, 360), blue), "without": ((SMALL, 120), red)}
    # explained again
    Image.new("RGB", (800, 800), "lime").save(project / "small.png")
    run.log_images(shown, "second", {"with": project / "small.png"})
    assert colours(run, ".webp") == {"with": ((SMALL, SMALL), (0, 255, 0)), "without": ((SMALL, 120), red)}
    assert run.reachable


@pytest.mark.parametrize(("most", "with_arrays"), [(100, True), (99, False)])
def test_arrays_of_gigabytes_stay_in_dvcs_cache(project, monkeypatch, most, with_arrays):
    for name in ("arrays/02_stem_heatmap.npy", "arrays/02_stem_own.npy", "contact_sheets/a.png", "images.csv"):
        file = project / "explanations" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(50))
    monkeypatch.setattr(record, "ARRAYS_BYTES", most)
    run = open_run("run", project / "memory")
    record.log_pictures(run)
    listed = {file.path for file in run.server.list_artifacts(run.run_id, "explanations")}
    always = {"explanations/contact_sheets", "explanations/images.csv"}
    assert listed == (always | {"explanations/arrays"} if with_arrays else always)
    (sheet,) = run.server.list_artifacts(run.run_id, "explanations/contact_sheets")
    assert sheet.path == "explanations/contact_sheets/a.png"


def test_sync_goes_on_past_a_run_that_is_refused(project):
    deleted, kept = (open_run(name, project / name) for name in ("deleted", "kept"))
    for number, run in enumerate((deleted, kept)):
        spool = Spool(store.spool_root() / f"{number}-run-{run.run_id}")
        spool.append(JOIN, {"run_id": run.run_id})
        spool.append("log_metrics", {"metrics": {"value": 0.5}, "step": 1})
    deleted.server.delete_run(deleted.run_id)
    told = []
    with pytest.raises(TrackingError, match=f"0-run-{deleted.run_id} is kept"):
        sync(told.append)
    assert told == [f"run {kept.run_id}: 1 calls sent"]
    client = MlflowClient(store.tracking_uri())
    assert client.get_run(kept.run_id).data.metrics == {"value": 0.5}
    assert [folder.name for folder in store.spool_root().iterdir()] == [f"0-run-{deleted.run_id}"]
