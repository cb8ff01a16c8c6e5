import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def threads_at_first():
    import torch

    return torch.get_num_threads()


@pytest.fixture(autouse=True)
def threads(threads_at_first):
    """Begin each test with the threads of the process: a stage that another test ran in it has set them."""
    import torch

    torch.set_num_threads(threads_at_first)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw_image(rng, kind: int, size: int = 48) -> Image.Image:
    """A noisy picture with a bright square (kind 0), disc (1), stripes (2) or cross (3) somewhere."""
    pixels = rng.normal(90, 12, (size, size, 3))
    row, column = rng.integers(4, size - 24, 2)
    down, across = np.mgrid[:20, :20]
    shape = [
        np.ones((20, 20), bool),
        (down - 10) ** 2 + (across - 10) ** 2 < 50,
        down % 6 < 2,
        (abs(down - across) < 3) | (abs(down + across - 19) < 3),
    ][kind]
    pixels[row : row + 20, column : column + 20][shape] += 110
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_classes(root: Path, rng, names=("disc", "square"), count=24, size=48) -> Path:
    """Write `count` PNG files for each class name; the class is visible in the picture."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            draw_image(rng, number, size).save(root / name / f"{index:03d}.png")
    return root


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is a project with a store of its own, whatever the shell says of DVC and MLflow."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def tracked(tmp_path_factory):
    """Return a small project that ran once with real DVC and a real SQLite store, and whose model passed the gate."""
    from project import Project

    project = Project(tmp_path_factory.mktemp("tracked"), np.random.default_rng(0))
    project.change("gate.min_accuracy", 0.0)
    project.run("dvc", "repro")
    project.run("layershap", "baseline")
    project.run("dvc", "repro")
    return project


@pytest.fixture(scope="module")
def browser():
    """Yield a headless Chromium; skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()
