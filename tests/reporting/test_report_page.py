"""The page and the card of a made-up evaluation: 2, 12 and 500 classes, few images and many."""

import base64
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import REPOSITORY
from layershap.plots import canvas, sheets
from layershap.plots.panel import Panel
from layershap.reporting import decisions, figures, report
from layershap.reporting.explained.images import picture_order
from layershap.workspace import paths
from layershap.workspace.params import load_params

LAYERS = 18
SIZES = tuple(np.repeat([64, 32, 16, 8, 4, 2], 3).tolist())


def written(
    root: Path,
    classes: list[str],
    images: int,
    accuracy: float = 0.9,
    noise: bool = False,
    pictures: int | None = None,
    sizes: Sequence[int] = SIZES,
) -> None:
    """Write into `root` what the stages before the report leave there; the last fifth of the images are mistakes.

    `sizes`: of the maps, by layer.
    """
    rng = np.random.default_rng(0)
    count = len(classes)
    root.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "params.yaml", root)
    facts = {
        paths.DATA_METRICS: {"images": 100 * count, "refused": 0},
        paths.SPLIT_METRICS: {part: dict.fromkeys(classes, 30) for part in ("train", "val", "test")},
        paths.TRAIN_METRICS: {"best_epoch": 2, "epochs": 3},
        paths.EVALUATE_METRICS: {
            "n_test": 400, "views": 1, "accuracy": accuracy, "accuracy_low": 0.8, "accuracy_high": 0.95, "f1": 0.9,
            "balanced_accuracy": 0.9, "roc_auc": None, "expected_calibration_error": 0.02,
            "per_class": {name: {"precision": 0.9, "recall": 0.9, "f1": 0.9, "images": 30} for name in classes},
        },
        paths.EXPLAIN_METRICS: {
            "layers": len(sizes), "images": images, "pictures": pictures or images, "references": 10,
            "largest_relative_gap": 1e-5,
        },
        paths.GATE_VERDICT: {"verdict": "PASS", "reasons": ["accuracy 0.9 is at least 0.8"]},
        paths.MODEL_CARD: {"classes": classes, "image_size": 224},
    }  # fmt: skip
    for place, content in facts.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(json.dumps(content))
    (root / paths.PLOTS).mkdir()
    epochs = {
        "epoch": [0, 1, 2],
        **{f"{part}_{kind}": [1, 2, 3] for part in ("train", "val") for kind in ("loss", "accuracy")},
    }
    pd.DataFrame(epochs).to_csv(root / paths.LEARNING_CURVE, index=False)
    files = [f"{classes[k % count]}/image_{k:04d}.jpg" for k in range(images)]
    names = list(paths.picture_names(files).values())
    row: dict = {"positive": 1.0, "negative": -1.0, "prefix": 0.0, "gap": 1e-6, "error_share": 0.1, "segments": 4}
    layers = range(2, len(sizes) + 2)
    rows = [{"image": name, "layer": layer, "name": f"block{layer}", **row} for name in names for layer in layers]
    pd.DataFrame(rows).to_csv(root / paths.LAYERS_TABLE, index=False)
    (root / paths.CONTACT_SHEETS).mkdir(parents=True)
    kinds = ["mistake" if k >= images - images // 5 else "image" for k in range(images)]
    table = pd.DataFrame({"name": names, "path": files, "label": [classes[k % count] for k in range(images)]})
    table["correct"] = [int(kind == "image") for kind in kinds]
    table["predicted"] = [classes[(k + (kind != "image")) % count] for k, kind in enumerate(kinds)]
    table = table.assign(probability=0.9, chosen=kinds)
    table["picture"] = table.index.isin(picture_order(table)[:pictures]).astype(int)
    table.to_csv(root / paths.EXPLAINED_IMAGES, index=False)
    maps_and_pictures(root, table, sizes, noise)
    names = table[table["picture"] == 1]["name"].tolist()
    sheet = canvas.encode(
        sheets.contact_sheet(
            rng.random((64, 64, 3)),
            [
                Panel(f"{layer} block{layer}", rng.normal(size=(size, size)))
                for layer, size in zip(layers, sizes, strict=True)
            ],
            f"{names[0]}: {classes[0]}, rightly taken for {classes[0]} (90% sure)\nlogit: 1.000 = 0.300 + 0.700",
            "logit of the predicted class",
        )
    )
    for number, name in enumerate(names):
        if noise:
            pixels = np.random.default_rng(number % 3).integers(0, 256, (700, 1300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / paths.CONTACT_SHEETS / f"{name}.png", compress_level=1)
        else:
            (root / paths.CONTACT_SHEETS / f"{name}.png").write_bytes(sheet)
    curves = {name: (rng.random(len(sizes)), -rng.random(len(sizes))) for name in table["name"]}
    canvas.save(figures.layers_curve(curves, list(layers), "logit", names), root / paths.EXPLANATIONS / "layers.png")
    targets = rng.integers(0, count, 400)
    predicted = np.where(rng.random(400) < accuracy, targets, rng.integers(0, count, 400))
    canvas.save(decisions.confusion(targets, predicted, classes), root / paths.EVALUATE_PICTURES / "confusion.png")
    curve = (np.array([0.6, 0.9]), np.array([0.6, 0.9]), np.array([10, 20]))
    canvas.save(decisions.reliability(*curve), root / paths.EVALUATE_PICTURES / "reliability.png")
    shown = [] if accuracy == 1 else [rng.random((224, 224, 3)) if noise else np.zeros((8, 8, 3))] * 12
    captions = [f"image_{n}.jpg\n{classes[n % count]} taken for\n{classes[0]}, 90% sure" for n in range(len(shown))]
    canvas.save(decisions.mistakes(shown, captions, len(shown), 400), root / paths.EVALUATE_PICTURES / "mistakes.png")


def maps_and_pictures(root: Path, table: pd.DataFrame, sizes: Sequence[int], noise: bool) -> None:
    """Write the maps of all images (0 for those without pictures), and the test images that have pictures."""
    rng = np.random.default_rng(1)
    shown = table.index[table["picture"] == 1]
    (root / paths.EXPLAINED_ARRAYS).mkdir()
    for layer, size in enumerate(sizes, start=2):
        for kind, scale in (("heatmap", 1.0), ("standard_error", 0.4)):
            place = root / paths.EXPLAINED_ARRAYS / paths.layer_array_name(layer, f"block{layer}", kind)
            array = np.lib.format.open_memmap(place, "w+", np.float32, (len(table), size, size))
            drawn = scale * rng.standard_t(3, (len(shown), size, size)) / size**2
            array[shown] = abs(drawn) if kind == "standard_error" else drawn
    for number, path in enumerate(table["path"][shown]):
        (root / paths.RAW / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((224, 224, 3), (40 * number) % 256, np.uint8)
        pixels[:112] = rng.integers(0, 256, (112, 224, 3)) if noise else 128
        Image.fromarray(pixels).save(root / paths.RAW / path)


def page(root: Path, monkeypatch, *given, template: str = "report.html.j2", **options) -> str:
    written(root, *given, **options)
    monkeypatch.chdir(root)
    return report.render(template, report.facts(load_params()))


def long(count: int) -> list[str]:
    return [f"a_very_long_name_of_sixty_letters_as_some_data_sets_have{number:04d}" for number in range(count)]


def test_the_page_stays_small_whatever_is_explained_and_says_what_it_leaves_out(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, [f"breed {n}" for n in range(40)], 120, noise=True)
    assert len(found.encode()) < 10_000_000
    assert f"{report.MOST_SHEETS} of 120 sheets" in found
    shown = re.findall(r'alt="contact sheet of (breed \d+-image_\d+)', found)
    assert len(shown) == len(set(shown)) == report.MOST_SHEETS
    assert found.count(" · wrong</figcaption>") == report.MOST_SHEETS // 2
    for kind, content in re.findall(r'src="data:image/(png|jpeg);base64,([^"]+)"', found):
        assert base64.b64decode(content).startswith({"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff"}[kind])


def test_of_a_thousand_images_those_with_pictures_are_shown_and_the_means_are_of_all(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["a", "b"], 1000, noise=True, pictures=6)
    assert len(found.encode()) < 10_000_000
    assert found.count("contact sheet of") == 6
    assert found.count(" · wrong</figcaption>") == 3
    assert "1000 images are explained, 6 have pictures" in found
    assert " of 6 sheets" not in found
    table = pd.read_csv(paths.LAYERS_TABLE)
    table.loc[table["image"] == table["image"].iloc[-1], "positive"] = 1001.0
    table.to_csv(paths.LAYERS_TABLE, index=False)
    assert report.facts(load_params())["layers"][0]["positive"] == pytest.approx(2.0)


def test_of_few_images_all_are_shown_as_they_are(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["functional", "defective"], 6)
    assert found.count("contact sheet of") == 6
    assert " of 6 sheets" not in found
    assert 'src="data:image/jpeg' not in found


def test_no_mistakes_are_a_sentence_not_a_picture(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["a", "b"], 2, accuracy=1.0)
    assert "No mistakes on 400 test images" in found
    assert 'alt="mistakes"' not in found


@pytest.mark.parametrize(("setting", "said"), [({}, True), ({"pale": False}, False), ({"reference": "blur"}, False)])
def test_the_page_says_what_pale_means_where_something_is(tmp_path, monkeypatch, setting, said):
    written(tmp_path, ["a", "b"], 2)
    monkeypatch.chdir(tmp_path)
    params = load_params()
    params = params.model_copy(update={"explain": params.explain.model_copy(update=setting)})
    assert ("Pale: within twice" in report.render("report.html.j2", report.facts(params))) == said


def test_the_table_of_layers_has_the_prefix_where_there_is_one(tmp_path, monkeypatch):
    none = page(tmp_path / "none", monkeypatch, ["a", "b"], 2)
    assert "<th>prefix</th>" not in none
    assert "Prefix: sum" not in none
    written(tmp_path / "some", ["a", "b"], 2)
    monkeypatch.chdir(tmp_path / "some")
    table = pd.read_csv(paths.LAYERS_TABLE)
    table.loc[table["layer"] == LAYERS, "prefix"] = -0.4321
    table.to_csv(paths.LAYERS_TABLE, index=False)
    found = report.render("report.html.j2", report.facts(load_params()))
    rows = re.findall(r"<tr><td>(\d+)</td><td>block.*?</tr>", found, flags=re.S)
    assert len(rows) == LAYERS
    assert found.count("<th>prefix</th>") == found.count("<td>-0.43</td>") == 1
    assert found.count("<td>0.00</td>") == LAYERS - 1


def test_the_page_says_how_to_see_it_beside_the_champion(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["a", "b"], 2)
    assert "<code>layershap compare</code> sets this model beside the registered champion" in found


def test_mistakes_are_a_picture(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["a", "b"], 2)
    assert "No mistakes" not in found
    assert 'alt="mistakes"' in found


def test_class_names_break_no_table_of_the_card(tmp_path, monkeypatch):
    found = page(tmp_path, monkeypatch, ["a|b", "c\nd", *long(10)], 12, template="model_card.md.j2")
    tables = [line.replace(r"\|", "") for line in found.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {3, 5}
    assert r"| a\|b | 30 | 30 | 30 |" in found
    assert "| c d | 30 | 30 | 30 |" in found


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("classes", [["a", "b"], long(12)], ids=["2", "12"])
def test_the_page_is_tidy_in_a_browser(tmp_path, monkeypatch, browser, classes, width):
    file = tmp_path / "report.html"
    file.write_text(page(tmp_path, monkeypatch, classes, 12), encoding="utf-8")
    shown = browser.new_page(viewport={"width": width, "height": 900})
    shown.goto(file.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    boxes = shown.evaluate("[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().toJSON())")
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            across = min(one["right"], other["right"]) - max(one["left"], other["left"])
            down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
            assert across <= 0.5 or down <= 0.5
    inside = "f => f.querySelector('figcaption').scrollWidth <= f.clientWidth + 1"
    assert shown.evaluate(f"[...document.querySelectorAll('figure')].every({inside})")
    shown.close()
