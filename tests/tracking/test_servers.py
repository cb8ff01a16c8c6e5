"""A real MLflow server, `mlflow run`, and the UI in a real browser."""

import re

import pytest
from mlflow.tracking import MlflowClient

from servers import serving, tracking_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def links_in(text):
    """Return what `layershap ui` prints: the links to all runs and to the contact sheets of two."""
    links = re.findall(r"http://\S+/#/\S+", text)
    assert len(links) == 2
    return links


def eye_of(page, run):
    """Return the eye beside a run in the UI's list, which shows its charts."""
    return page.locator(f".ag-row:has(a[href*='{run.info.run_id}']) label:has(.is-visibility-toggle-checkbox)")


def wait_for_sheet(page, run):
    """Return the box of a run's first contact sheet in the image grid, once it is drawn with more than 300 pixels."""
    sheet = page.locator(f"img[src*='contact%20sheet'][src*='{run.info.run_id}']").first
    sheet.wait_for(timeout=60_000)
    page.wait_for_function("image => image.complete && image.naturalWidth > 300", arg=sheet.element_handle())
    return sheet.bounding_box()


def test_a_server_works_as_well_as_the_file(tracked, browser):
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
        said = tracked.run("layershap", "ui", MLFLOW_TRACKING_URI=address).stdout
        links = links_in(said)
        assert all(link.startswith(f"{address}/#/experiments/{experiment.experiment_id}/runs?") for link in links)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(links[1])
        eye_of(page, run).click(timeout=150_000)
        wait_for_sheet(page, run)
        page.close()


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


@pytest.fixture(scope="module")
def two_runs(tracked):
    """Return the newest two runs; beside them stand one that goes on, one that failed, and a fold below another."""
    if len(newest_two(tracked)) < 2:
        tracked.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=1")
    runs = newest_two(tracked)
    client, experiment = tracked.client(), runs[0].info.experiment_id
    others = [client.create_run(experiment, start_time=1000, run_name=name) for name in ("running", "failed", "fold 0")]
    client.set_terminated(others[1].info.run_id, "FAILED")
    client.set_tag(others[2].info.run_id, "mlflow.parentRunId", others[0].info.run_id)
    client.log_metric(others[2].info.run_id, "accuracy", 0.5)
    yield runs
    for run in others:
        client.delete_run(run.info.run_id)


@pytest.fixture(scope="module")
def links(tracked, two_runs):
    """Yield the links that `layershap ui` prints, while it runs."""
    with serving(tracked, "layershap", "ui", host=()):
        yield links_in((tracked.root / "server.log").read_text())


@pytest.fixture
def screen(browser):
    """Yield an empty page as wide as a laptop's, of somebody who was never here."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    yield page
    page.close()


def test_four_clicks_lead_from_make_ui_to_two_contact_sheets_side_by_side(two_runs, links, screen):
    clicks = 0

    def click(target):
        nonlocal clicks
        target.click(timeout=150_000)
        clicks += 1

    screen.goto(links[1])
    clicks += 1
    # MLflow opens it for who is there for the first time
    click(screen.locator("[data-component-id='mlflow.assistant.chat_panel.close']"))
    for run in two_runs:
        click(eye_of(screen, run))
    boxes = sorted((wait_for_sheet(screen, run) for run in two_runs), key=lambda box: box["x"])
    assert clicks == 4
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    assert abs(boxes[0]["y"] - boxes[1]["y"]) < 2
    for box in boxes:
        assert box["width"] >= 350
        assert box["height"] >= 350
        assert box["x"] + box["width"] <= 1400
        assert box["y"] + box["height"] <= 900
    assert screen.get_by_text("learning_rate=").count() == 0  # no settings above the pictures
    screen.locator("img[src*='contact%20sheet']").first.click()
    screen.wait_for_function(
        "[...document.images].some(image => image.className.includes('preview') && image.naturalWidth > 700)"
    )


def test_the_experiment_opens_on_runs_with_accuracy_interval_verdict_and_champion(tracked, two_runs, links, screen):
    screen.goto(links[0])
    screen.get_by_role("columnheader", name="layershap.champion").first.wait_for(timeout=150_000)
    screen.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    screen.wait_for_timeout(1000)
    heads = {head.get_attribute("col-id"): head.bounding_box()["x"] for head in screen.locator(".ag-header-cell").all()}
    wanted = [
        *("metrics.`accuracy`", "metrics.`accuracy_low`", "metrics.`accuracy_high`"),
        *("tags.`layershap.gate`", "tags.`layershap.champion`"),
    ]
    assert sorted(wanted, key=heads.get) == wanted
    assert heads[wanted[-1]] < 1250
    client = tracked.client()
    champion = client.get_model_version_by_alias("layershap-folder", "champion")
    named = screen.locator(f".ag-row:has(a[href*='{champion.run_id}'])").first  # its other columns are another element
    row = screen.locator(f".ag-row[row-index='{named.get_attribute('row-index')}']")
    assert row.locator("[col-id='tags.`layershap.gate`']").inner_text() == "PASS"
    assert row.locator("[col-id='tags.`layershap.champion`']").inner_text() == f"layershap-folder v{champion.version}"
    assert screen.get_by_text(f"layershap-folder v{champion.version}", exact=True).count() == 1
    assert "running" in screen.locator(".ag-body-viewport").inner_text()
    screen.locator("label:has(input[name=runs-view-mode][value=CHART])").click()
    for run in two_runs:
        wait_for_sheet(screen, run)
    groups = screen.locator("[data-testid=experiment-view-compare-runs-section-header]").all_inner_texts()
    assert [group.split("\n")[0] for group in groups[:2]] == ["contact sheets", "Model metrics"]
    assert int(re.search(r"\((\d+)\)", groups[1])[1]) <= 7  # the rest in groups of their own
    assert {"test", "train", "explain", "layer"} <= {group.split("\n")[0] for group in groups[2:]}


def test_two_runs_are_compared(tracked, ui, page, two_runs):
    first, second = two_runs
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
