"""A real MLflow server, `mlflow run`, and the UI in a real browser."""

import pytest
from mlflow.tracking import MlflowClient

from servers import serving, tracking_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_server_works_as_well_as_the_file(tracked):
    with serving(tracked, *tracking_server(tracked)) as address:
        tracked.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=3", MLFLOW_TRACKING_URI=address)
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("layershap")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 3
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"report.html", "model_card.md", "explanations", "plots", "images", "gate"} <= names
        assert client.search_model_versions(f"run_id = '{run.info.run_id}'")


def test_mlflow_run_ends_in_one_run_of_the_same_shape(tracked):
    before = {run.info.run_id: run for run in tracked.runs()}
    (reference, *_) = sorted(before.values(), key=lambda run: run.info.start_time)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tracked.root / 'mlflow.db'}"}
    tracked.run(
        *("mlflow", "run", ".", "--env-manager", "local", "--experiment-name", "layershap"),
        *("-P", "epochs=3", "-P", "learning_rate=0.003"),
        *("-P", "set=train.epochs=2 head.hidden=[4, 4] explain.more_references=5"),
        **store,
    )
    (run,) = [run for run in tracked.runs() if run.info.run_id not in before]
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "2"
    assert run.data.params["train.learning_rate"] == "0.003"
    assert run.data.params["head.hidden"] == "[4, 4]"
    assert run.data.params["explain.more_references"] == "5"
    assert set(reference.data.metrics) - set(run.data.metrics) == set()
    assert {name.partition("/")[0] for name in tracked.artifacts(run)} >= {
        name.partition("/")[0] for name in tracked.artifacts(reference)
    }
    tracked.run("git", "checkout", "--", "params.yaml")
    tracked.change("gate.min_accuracy", 0.0)


@pytest.mark.parametrize(
    ("given", "named"),
    [("train.epoch=2", "train.epoch: unknown key"), ("train.epochs=2 train.seed=-1", "train.seed: "), ("a b", "'a'")],
)
def test_mlflow_run_names_a_wrong_setting_before_any_work(tracked, given, named):
    before = {name: (tracked.root / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tracked.root / 'mlflow.db'}"}
    command = ("mlflow", "run", ".", "--env-manager", "local", "--experiment-name", "refused", "-P", f"set={given}")
    done = tracked.run(*command, expect=None, **store)
    assert done.returncode != 0
    assert named in done.stderr
    assert "Running stage" not in done.stdout
    assert before == {name: (tracked.root / name).read_bytes() for name in before}


@pytest.fixture
def page(browser):
    """Yield an empty page, wide enough for a table with a column more."""
    page = browser.new_page(viewport={"width": 2400, "height": 1000})
    yield page
    page.close()


@pytest.fixture(scope="module")
def ui(tracked):
    uri = f"sqlite:///{tracked.root / 'mlflow.db'}"
    with serving(tracked, "mlflow", "ui", "--backend-store-uri", uri) as address:
        yield address


def newest_two(tracked):
    """Return the newest runs of the pipeline's own experiment; other tests leave runs that never began in others."""
    experiment = tracked.client().get_experiment_by_name("layershap").experiment_id
    runs = [run for run in tracked.runs() if run.info.experiment_id == experiment]
    return sorted(runs, key=lambda run: run.info.start_time)[-2:]


def test_the_table_of_runs_shows_accuracy(tracked, ui, page):
    run = newest_two(tracked)[0]
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs")
    page.get_by_text("folder efficientnet_lite0").first.wait_for(timeout=150_000)
    page.get_by_role("button", name="Columns").click()
    page.keyboard.type("accuracy")
    page.locator("[class*=tree-treenode]", has_text="accuracy").first.locator("[class*=tree-checkbox]").first.click()
    page.keyboard.press("Escape")
    page.get_by_role("columnheader", name="accuracy").first.wait_for(timeout=30_000)


def test_a_run_shows_its_layers_as_curves(tracked, ui, page):
    run = newest_two(tracked)[-1]
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("layer/")
    page.get_by_text("error_share").first.wait_for(timeout=60_000)
    page.locator(".scatterlayer .point").first.wait_for(timeout=60_000)
    assert page.locator(".scatterlayer").first.locator(".point").count() == 18


def test_a_contact_sheet_is_shown_among_the_artifacts(tracked, ui, page):
    run = newest_two(tracked)[-1]
    name = next(name for name in tracked.artifacts(run) if "contact_sheets" in name)
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{name}")
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 700)", timeout=60_000)


def test_two_runs_are_compared(tracked, ui, page):
    if len(newest_two(tracked)) < 2:
        tracked.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=1")
    first, second = newest_two(tracked)
    runs = f'["{first.info.run_id}","{second.info.run_id}"]'
    page.goto(f'{ui}/#/compare-runs?runs={runs}&experiments=["{first.info.experiment_id}"]')
    page.get_by_text("Comparing 2 Runs").first.wait_for(timeout=60_000)
    page.get_by_text("train.learning_rate").first.wait_for(timeout=60_000)


def test_the_report_is_a_rendered_page_in_the_artifact_view(tracked, ui, page):
    run = newest_two(tracked)[-1]
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html")
    frame = page.frame_locator("iframe").first
    frame.get_by_text("What each layer contributes").wait_for(timeout=60_000)
    assert frame.locator("figure img").first.evaluate("image => image.naturalWidth") > 300
    frame.locator("#explorer").focus()
    page.keyboard.press("ArrowRight")
    assert frame.locator("#explorer-layer-name").text_content() == "3 block1, 32 × 32"
    assert frame.locator("#explorer-picture").evaluate("image => image.naturalWidth") == 64


def test_a_click_enlarges_a_contact_sheet(tracked, page):
    page.goto((tracked.root / "reports" / "report.html").as_uri())
    sheet = page.locator("figure").first
    small = sheet.bounding_box()["width"]
    sheet.locator("a.open").click()
    assert sheet.bounding_box()["width"] > small * 1.5
    sheet.locator("a.close").click()
    assert sheet.bounding_box()["width"] == small
