"""Take the pictures of docs/ from a real browser: run `make repro` and some experiments first.

python docs/screenshots.py        # needs Chromium and `pip install playwright`
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from mlflow.tracking import MlflowClient
from playwright.sync_api import Page, sync_playwright

from layershap.tracking.store import EXPERIMENT, tracking_uri

PICTURES = Path(__file__).parent / "pictures"
PORT = 5077


def main() -> None:
    """Start the UI, open its pages and write the pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    uri = tracking_uri()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(f"http://127.0.0.1:{PORT}/health")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            take(browser.new_page(viewport={"width": 1900, "height": 1000}), MlflowClient(uri))
            browser.close()
    finally:
        server.terminate()


def wait(address: str) -> None:
    """Wait until the server answers."""
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=2).read()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


def take(page: Page, client: MlflowClient) -> None:
    """Write each picture."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    run = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
    base = f"http://127.0.0.1:{PORT}/#/experiments/{experiment.experiment_id}/runs"
    shots = {
        "mlflow_runs": (base, run.info.run_name),
        "mlflow_layers": (f"{base}/{run.info.run_id}/model-metrics", "layer"),
        "mlflow_report": (f"{base}/{run.info.run_id}/artifacts/report.html", "report.html"),
    }
    for name, (address, text) in shots.items():
        page.goto(address)
        page.get_by_text(text).first.wait_for(timeout=60_000)
        if name == "mlflow_runs":
            show_column(page, "accuracy")
        if name == "mlflow_layers":
            page.get_by_placeholder("Search metric charts").fill("layer/")
        page.wait_for_timeout(4000)  # charts draw themselves after their text
        # the path of an artifact is this machine's
        page.evaluate(
            "[...document.querySelectorAll('div')].filter(e => /^Path: /.test(e.innerText) && "
            "e.innerText.length < 300).forEach(e => e.style.visibility = 'hidden')"
        )
        for button in page.get_by_role("button", name="Close").all():
            button.click()
        page.screenshot(path=PICTURES / f"{name}.png")
    plots = Path("dvc_plots/index.html")
    if plots.exists():
        page.goto(plots.resolve().as_uri())
        page.wait_for_timeout(4000)
        page.screenshot(path=PICTURES / "dvc_plots.png")


def show_column(page: Page, name: str) -> None:
    """Add a metric to the table of runs."""
    page.get_by_role("button", name="Columns").click()
    page.wait_for_timeout(1000)
    page.keyboard.type(name)
    page.wait_for_timeout(1000)
    page.locator("[class*=tree-treenode]", has_text=name).first.locator("[class*=tree-checkbox]").first.click()
    page.keyboard.press("Escape")


if __name__ == "__main__":
    main()
