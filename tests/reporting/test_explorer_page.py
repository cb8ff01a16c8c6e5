"""The layer explorer of report.html in a real browser, against the arrays that it was made from."""

import json
import re
import time

import matplotlib
import numpy as np
import pytest
from test_report_page import LAYERS, page, written

from layershap.plots import sheets
from layershap.plots.panel import Panel
from layershap.reporting import report
from layershap.reporting.explained.stored import StoredMaps
from layershap.reporting.explorer.packing import ERROR_OFF, VALUE_OFF
from layershap.workspace import paths
from layershap.workspace.params import load_params

# of VGG19 at 224 pixels, and five further layers
LARGE = (224, 224, *[112] * 3, *[56] * 5, *[28] * 5, *[14] * 5, *[7] * 6)
UNIT = "log odds of b"


def content(text: str) -> dict:
    """Return what the page has for the explorer."""
    return json.loads(re.search(r'<script id="explorer-data" type="application/json">(.*?)</script>', text).group(1))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return the folder of an evaluation of 7 images, with its page."""
    root = tmp_path_factory.mktemp("explorer")
    with pytest.MonkeyPatch.context() as patch:
        (root / "report.html").write_text(page(root, patch, ["a", "b"], 7), encoding="utf-8")
    return root


@pytest.fixture(params=[1400, 400])
def shown(request, project, browser):
    """Yield the page at a width, with the explorer focused, and fail on an error or a request to the network."""
    found = browser.new_page(viewport={"width": request.param, "height": 900})
    asked, errors = [], []
    found.on("request", lambda request: asked.append(request.url))
    found.on("pageerror", lambda error: errors.append(error))
    found.goto((project / "report.html").as_uri())
    found.locator("#explorer").focus()
    yield found
    assert [address for address in asked if not address.startswith(("data:", "file:"))] == []
    assert [address for address in asked if address.startswith("file:")] == [(project / "report.html").as_uri()]
    assert errors == []
    found.close()


def state(shown) -> tuple[str, str, str, bool]:
    """Return image, layer, opacity and whether errors make pale, as a reader sees them."""
    image = shown.locator("#explorer-image option:checked").text_content()
    layer, opacity = (shown.locator(f"#explorer-{name}").text_content() for name in ("layer-name", "opacity-name"))
    return image, layer, opacity, shown.locator("#explorer-error").is_checked()


def point(shown, across: float, down: float) -> None:
    """Move the pointer to a place of the picture, in parts of its sides."""
    shown.locator("#explorer-map").scroll_into_view_if_needed()
    box = shown.locator("#explorer-map").bounding_box()
    shown.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])


def stage(shown) -> bytes:
    """Return the pixels of the picture with the map over it."""
    shown.mouse.move(0, 0)
    return shown.locator(".stage").screenshot()


def test_keys_change_layer_image_error_and_opacity(project, shown):
    table = content((project / "report.html").read_text(encoding="utf-8"))
    names = [image["name"] for image in table["images"]]
    assert len(names) == 7
    assert state(shown) == (names[0], "2 block2, 64 × 64", "50 %", True)
    for key, expected in [
        ("ArrowLeft", (names[0], "2 block2, 64 × 64", "50 %", True)),  # there is none before it
        ("ArrowRight", (names[0], "3 block3, 64 × 64", "50 %", True)),
        ("ArrowDown", (names[1], "3 block3, 64 × 64", "50 %", True)),
        ("ArrowUp", (names[0], "3 block3, 64 × 64", "50 %", True)),
        ("e", (names[0], "3 block3, 64 × 64", "50 %", False)),
        ("+", (names[0], "3 block3, 64 × 64", "60 %", False)),
        ("-", (names[0], "3 block3, 64 × 64", "50 %", False)),
        ("e", (names[0], "3 block3, 64 × 64", "50 %", True)),
    ]:
        shown.keyboard.press(key)
        assert state(shown) == expected
    for _ in range(LAYERS + 2):
        shown.keyboard.press("ArrowRight")
    assert state(shown)[1] == "19 block19, 2 × 2"
    shown.locator("#explorer-layer").focus()
    shown.keyboard.press("ArrowLeft")  # one step, not two
    assert state(shown)[1] == "18 block18, 2 × 2"
    shown.keyboard.press("ArrowDown")
    assert state(shown)[:2] == (names[1], "18 block18, 2 × 2")
    shown.locator("#explorer-opacity").focus()
    shown.keyboard.press("ArrowLeft")
    assert state(shown) == (names[1], "18 block18, 2 × 2", "45 %", True)


def test_slider_and_choice_change_what_is_drawn(project, shown):
    names = [image["name"] for image in content((project / "report.html").read_text(encoding="utf-8"))["images"]]
    before = stage(shown)
    shown.locator("#explorer-layer").fill("6")
    assert state(shown)[1] == "8 block8, 16 × 16"
    assert shown.locator("#explorer-layer").get_attribute("aria-valuetext") == "8 block8"
    at_layer = stage(shown)
    shown.locator("#explorer-image").select_option(names[3])
    assert state(shown)[:2] == (names[3], "8 block8, 16 × 16")
    assert names[3] in shown.locator("#explorer-map").get_attribute("aria-label")
    assert len({before, at_layer, stage(shown)}) == 3


def test_the_decision_stands_beside_the_image(project, shown):
    wrong = shown.locator("#explorer-decision").text_content()
    shown.keyboard.press("ArrowDown")
    right = shown.locator("#explorer-decision").text_content()
    assert re.fullmatch(r"[ab], wrongly taken for [ab] \(90% sure\)", wrong)
    assert re.fullmatch(r"([ab]), rightly taken for \1 \(90% sure\)", right)


@pytest.mark.parametrize(("steps", "across", "down"), [(0, 0.013, 0.99), (7, 0.4, 0.7), (17, 0.74, 0.26)])
def test_the_value_under_the_pointer_is_that_of_the_array(project, shown, steps, across, down):
    for _ in range(steps):
        shown.keyboard.press("ArrowRight")
    point(shown, across, down)
    stored = StoredMaps(project / paths.EXPLANATIONS)
    layer, name = steps + 2, state(shown)[0]
    values, errors = (stored.maps(layer, [name], kind)[0] for kind in ("heatmap", "standard_error"))
    row, column = int(down * len(values)), int(across * len(values))
    told = re.fullmatch(rf"(\S+) ± (\S+) {UNIT}", shown.locator("#explorer-value").text_content())
    value, error = (float(text.replace("−", "-")) for text in told.groups())
    # and what four and two digits leave out
    assert value == pytest.approx(values[row, column], rel=VALUE_OFF + 5e-4, abs=1e-7 * float(abs(values).max()))
    assert error == pytest.approx(errors[row, column], rel=ERROR_OFF + 0.05)
    size = len(values)
    told = shown.locator("#explorer-density").text_content()
    assert f"row {row + 1}, column {column + 1} of {size} × {size}" in told
    density = float(re.search(r"area (\S+)", told).group(1).replace("−", "-"))
    assert density == pytest.approx(values[row, column] * size**2 / 100, rel=VALUE_OFF + 5e-4, abs=1e-5)


@pytest.mark.parametrize("pale", [True, False])
def test_the_colours_are_those_of_the_pictures(project, shown, pale):
    if not pale:
        shown.keyboard.press("e")
    stored = StoredMaps(project / paths.EXPLANATIONS)
    for layer in range(2, 8):
        name = state(shown)[0]
        values, errors = (stored.maps(layer, [name], kind)[0] for kind in ("heatmap", "standard_error"))
        density = sheets.density(values)
        scaled = matplotlib.colors.Normalize(-1, 1)(density / sheets.signed_limit(density))
        alpha = sheets.strength(Panel("", values, errors), pale)
        colours = matplotlib.colormaps[sheets.SIGNED](scaled)[..., :3] * 255
        expected = 255 + (1.0 if alpha is None else alpha[..., None]) * (colours - 255)
        script = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        drawn = np.array(shown.locator("#explorer-map").evaluate(script)).reshape(*values.shape, 4)
        assert (drawn[..., 3] == 255).all()
        off = np.abs(drawn[..., :3] - expected).max(axis=-1)
        assert off.max() <= 8  # the next of 256 colours
        assert (off > 1).mean() < 0.01
        shown.keyboard.press("ArrowRight")


def test_opacity_and_error_change_the_pixels(shown):
    half = stage(shown)
    shown.keyboard.press("e")
    strong = stage(shown)
    shown.locator("#explorer-opacity").fill("0")
    bare = stage(shown)
    shown.keyboard.press("e")
    assert stage(shown) == bare  # nothing of the map is seen
    shown.locator("#explorer-opacity").fill("100")
    full = stage(shown)
    assert len({half, strong, bare, full}) == 4
    shown.locator("#explorer-opacity").fill("50")
    assert stage(shown) == half


def test_it_fits_its_width_and_answers_a_click(shown):
    width = shown.viewport_size["width"]
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("map", "image", "layer", "opacity", "error", "value", "help"):
        box = shown.locator(f"#explorer-{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert shown.locator("#explorer-map").bounding_box()["width"] >= min(width, 480) * 0.8
    shown.locator("#explorer-map").click(position={"x": 20, "y": 30})
    assert UNIT in shown.locator("#explorer-value").text_content()
    shown.keyboard.press("ArrowRight")  # the click has put the focus there
    assert state(shown)[1].startswith("3 block3")


def test_it_works_in_the_frame_that_mlflow_shows_an_artifact_in(project, browser):
    frame = project / "frame.html"
    frame.write_text('<iframe sandbox="allow-scripts" src="report.html" width="900" height="800"></iframe>')
    found = browser.new_page()
    errors = []
    found.on("pageerror", lambda error: errors.append(error))
    found.goto(frame.as_uri())
    inside = found.frame_locator("iframe")
    inside.locator("#explorer").focus()
    found.keyboard.press("ArrowRight")
    assert inside.locator("#explorer-layer-name").text_content() == "3 block3, 64 × 64"
    assert errors == []
    found.close()


def test_without_javascript_there_is_none(project, browser):
    context = browser.new_context(java_script_enabled=False)
    found = context.new_page()
    found.goto((project / "report.html").as_uri())
    assert not found.locator("#explorer").is_visible()
    assert found.locator("#sheet1 img").is_visible()
    context.close()


def test_prefix_tokens_and_one_reference_are_told(tmp_path, monkeypatch, browser):
    written(tmp_path, ["a", "b"], 2)
    monkeypatch.chdir(tmp_path)
    arrays = paths.EXPLAINED_ARRAYS
    np.save(arrays / paths.layer_array_name(3, "block3", "prefix"), np.array([-0.4321, -0.4321], np.float32))
    alone = arrays / paths.layer_array_name(4, "block4", "standard_error")
    np.save(alone, np.full_like(np.load(alone), np.nan))
    (tmp_path / "report.html").write_text(report.render("report.html.j2", report.facts(load_params())))
    shown = browser.new_page()
    shown.goto((tmp_path / "report.html").as_uri())
    shown.locator("#explorer").focus()
    assert not shown.locator("#explorer-prefix").is_visible()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#explorer-prefix").text_content().endswith(f"−0.4321 {UNIT}")
    assert shown.locator("#explorer-error").is_enabled()
    shown.keyboard.press("ArrowRight")
    assert not shown.locator("#explorer-prefix").is_visible()
    assert not shown.locator("#explorer-error").is_enabled()
    point(shown, 0.5, 0.5)
    assert "±" not in shown.locator("#explorer-value").text_content()
    shown.close()


def test_many_large_maps_fit_by_fewer_images_and_are_there_soon(tmp_path, monkeypatch, browser):
    text = page(tmp_path, monkeypatch, ["a", "b"], 16, noise=True, sizes=LARGE)
    assert len(text.encode()) < 10_000_000
    found = content(text)
    assert len(found["layers"]) == len(LARGE) == 26
    assert 3 <= len(found["images"]) < 16
    assert f"{len(found['images'])} of 16 images with pictures" in text
    decisions = [image["decision"] for image in found["images"]]
    assert ["wrongly" in decision for decision in decisions[:2]] == [True, False]
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    shown = browser.new_page()
    start = time.perf_counter()
    shown.goto((tmp_path / "report.html").as_uri(), wait_until="commit")
    shown.locator("#explorer-layer-name", has_text="2 block2, 224 × 224").wait_for()
    took = time.perf_counter() - start
    print(f"{len(text.encode()) / 1e6:.1f} MB, {len(found['images'])} images, first view after {took:.2f} s")
    assert took < 10
    shown.close()


def test_the_default_shows_all_its_images(tmp_path, monkeypatch):
    sizes = (112, 112, 56, 56, 28, 28, *[14] * 6, *[7] * 6)
    text = page(tmp_path, monkeypatch, ["a", "b"], 6, noise=True, sizes=sizes)
    assert len(text.encode()) < 10_000_000
    assert len(content(text)["images"]) == 6
    assert "images with pictures, mistakes" not in text
    assert "too large for a layer explorer" not in text


def test_a_page_without_room_for_one_image_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "EXPLORER_ROOM", 0)
    text = page(tmp_path, monkeypatch, ["a", "b"], 2)
    assert "too large for a layer explorer" in text
    assert "explorer-data" not in text
