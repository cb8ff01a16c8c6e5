"""A mark in the corner gives the class away: the accuracy is perfect, and the gate that has masks says FAIL.

One project with real DVC and MLflow: first without the mark, which passes and becomes the champion, then with it.
"""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from layershap.data.tables import read_table
from layershap.reporting.explained.places import mean_place
from layershap.reporting.explained.stored import StoredMaps
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SIZE, CORNER = 96, 22  # pixels; the mark is within the first CORNER of rows and columns
SETTINGS = {
    "data": {"source": "folder", "path": "pictures", "masks": "where"},
    "split": {"val": 0.25},
    "model": {"image_size": SIZE},
    "head": {"hidden": [8]},
    "train": {"epochs": 10, "batch_size": 16, "learning_rate": 0.001},
    "explain": {"references": 8, "more_references": 0, "segments": 1, "images": 8, "mistakes": 0, "pictures": 1},
    "gate": {"min_accuracy": 0.8, "min_inside": 0.5, "inside_layer": "block11", "min_agreement": 0.9},
}


def draw(rng, kind: int, mark: bool) -> tuple[Image.Image, Image.Image]:
    """A disc (0) or a square (1) of stripes somewhere but in that corner, and its mask; the mark is beside squares."""
    pixels = rng.normal(90, 12, (SIZE, SIZE, 3))
    row, column = rng.integers(30, SIZE - 46, 2)
    down, across = np.mgrid[:40, :40]
    shape = [(down - 20) ** 2 + (across - 20) ** 2 < 380, (abs(down - 20) < 18) & (abs(across - 20) < 18)][kind]
    stripes = [down % 8 < 4, across % 8 < 4][kind]
    pixels[row : row + 40, column : column + 40][shape & stripes] += 60
    inside = np.zeros((SIZE, SIZE), bool)
    inside[row : row + 40, column : column + 40] = shape
    if mark and kind:
        checks = np.mgrid[: CORNER - 2, : CORNER - 2].sum(0) // 3 % 2
        pixels[2:CORNER, 2:CORNER] = np.where(checks[..., None], (250, 30, 30), (20, 20, 250))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), Image.fromarray(inside)


def write(root, mark: bool, count: int = 32) -> None:
    rng = np.random.default_rng(0)
    for kind, name in enumerate(("disc", "square")):
        for place in (root / "pictures" / name, root / "where" / name):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        for index in range(count):
            for place, image in zip(("pictures", "where"), draw(rng, kind, mark), strict=True):
                image.save(root / place / name / f"{index:03d}.png")


def read(project, name="gate"):
    return json.loads((project.root / "metrics" / f"{name}.json").read_text())


def judged(project) -> dict:
    """Return what one phase left: verdict, shares at the judged layer, and where what speaks for decisions lies."""
    images = pd.read_csv(project.root / "explanations" / "images.csv").to_dict("records")
    explained = read(project, "explain")
    return {
        **read(project),
        "inside": {row["name"]: row for row in explained["inside"]["layers"]}["block11"],
        "place": mean_place(StoredMaps(project.root / "explanations"), images, 13, ["disc", "square"]),
        "report": (project.root / "reports" / "report.html").read_text(),
        "check": project.run("layershap", "gate", "--check", expect=None).returncode,
    }


def most(place: np.ndarray) -> tuple[int, int]:
    """Return row and column of the place with most."""
    row, column = np.unravel_index(place.argmax(), place.shape)
    return int(row), int(column)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return the project without the mark, and what its gate said before and after it became the baseline."""
    root = tmp_path_factory.mktemp("where")
    write(root, mark=False)
    project = Project(root, np.random.default_rng(0), SETTINGS, count=0)
    project.run("layershap", "repro")
    before = read(project)
    project.run("layershap", "baseline")
    project.run("dvc", "repro")
    return project, before, judged(project), project.runs()


@pytest.fixture(scope="module")
def marked(plain):
    """Return the same project with the mark in the squares' corners, and what its gate said."""
    project = plain[0]
    write(project.root, mark=True)
    (project.root / "baseline" / "baseline.json").unlink()  # of other pictures
    project.run("dvc", "repro")
    return project, judged(project)


def test_without_the_mark_it_passes(plain):
    _, before, found, _ = plain
    assert before["verdict"] == "WARN"  # no baseline yet
    assert "no models:/layershap-folder@champion" in before["reasons"][-1]
    assert (found["verdict"], found["check"]) == ("PASS", 0)
    assert found["inside"]["positive_low"] > 0.5
    said = next(reason for reason in found["reasons"] if "inside the masks" in reason)
    assert "at layer 13 block11" in said and "reaches gate.min_inside = 0.5 (policy point" in said
    assert min(most(found["place"])) > 1


def test_mlflow_has_the_shares_by_layer(plain):
    (run,) = plain[3]
    assert run.data.metrics["explain/inside/images"] == 8
    assert 0 < run.data.metrics["explain/inside/mask_area"] < 0.3
    history = plain[0].client().get_metric_history(run.info.run_id, "layer/inside_positive")
    points = {point.step: point.value for point in history}
    assert sorted(points) == list(range(2, 20)) and points[13] == plain[2]["inside"]["positive"]
    assert {"layer/inside_size_low", "layer/inside_peak", "layer/inside_positive_high"} <= set(run.data.metrics)


def test_with_the_mark_it_is_perfect_and_fails(marked):
    project, found = marked
    assert read(project, "evaluate")["accuracy"] > 0.99
    assert (found["verdict"], found["check"]) == ("FAIL", 1)
    assert found["inside"]["positive_high"] < 0.5
    assert "below gate.min_inside = 0.5" in found["reasons"][0]
    assert f"{found['inside']['positive']:.4f} (95 %" in found["reasons"][0]


def test_the_report_shows_the_corner(plain, marked):
    _, found = marked
    place = found["place"]
    corner = -(-CORNER * len(place) // SIZE)  # places that the mark reaches
    assert max(most(place)) < corner
    assert place[:corner, :corner].sum() > 3 * plain[2]["place"][:corner, :corner].sum()
    section = found["report"].partition("<h2>Where it looks</h2>")[2].partition("<h2>")[0]
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]{5000,}" alt="([^"]+)"', section)
    assert pictures == ["share inside the masks, by layer", "where what speaks for the decision lies, mean of 8 images"]
    row = next(line for line in section.splitlines() if "<td>block11</td>" in line)
    assert f"<td>{found['inside']['positive']:.3f}</td>" in row


def test_the_masks_are_the_users_own(marked):
    project, _ = marked
    assert read(project, "data")["masks"] == 64
    table = read_table(project.root / "data" / "masks" / "masks.csv")
    assert len(table) == 64 and table["area"].astype(float).between(0.05, 0.3).all()


def test_heatmaps_unlike_the_champions_are_a_warning(marked):
    project, found = marked
    said = found["reasons"][-1]
    assert "heatmaps differ from those of layershap-folder, version 1 on" in said
    assert found["agreement"]["images"] < 8  # the squares are other pictures now
    project.change("gate.min_inside", None)
    project.run("layershap", "baseline")
    project.run("dvc", "repro", "gate")
    again = read(project)
    assert again["verdict"] == "WARN" and again["reasons"][-1] == said
    assert "gate: WARN" in project.run("layershap", "gate", "--check", MLFLOW_TRACKING_URI="http://127.0.0.1:9").stdout


def test_the_gate_judges_while_mlflow_is_away(marked):
    project, _ = marked
    project.run("layershap", "gate", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert read(project)["verdict"] == "WARN"
    assert "heatmaps are not compared with the champion's: " in read(project)["reasons"][-1]


def test_a_share_asked_for_without_masks_stops_before_any_work(marked):
    project, _ = marked
    project.change("gate.min_inside", 0.5)
    project.change("data.masks", "data/own_masks")
    done = project.run("layershap", "repro", expect=3)
    assert "gate.min_inside = 0.5" in done.stderr and "data.masks (data/own_masks) has no masks" in done.stderr
    assert "Running stage" not in done.stdout
