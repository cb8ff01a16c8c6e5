"""`layershap compare` on a real project: two models of different settings, asked for in every way."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from layershap.reporting.comparison.explained import compared_maps
from layershap.reporting.comparison.page import page as drawn
from layershap.stages import compare
from layershap.workspace import paths
from layershap.workspace.compared.side import MAPS
from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest, read_json
from project import SETTINGS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CHAMPION = "models:/layershap-folder@champion"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project whose committed model is the champion, and whose workspace has that of the experiment wider."""
    explain = {**SETTINGS["explain"], "mistakes": 1}
    settings = {**SETTINGS, "explain": explain, "gate": {"min_accuracy": 0.0}}
    project = Project(tmp_path_factory.mktemp("compared"), np.random.default_rng(0), settings)
    project.run("dvc", "repro")
    project.run("layershap", "baseline")
    project.run("dvc", "repro")
    project.commit()
    # a head that learned nothing decides otherwise; no lower end of an interval reaches this floor: the champion stays
    changes = ("head.hidden=[16]", "train.learning_rate=0.0000001", "gate.policy=strict", "gate.min_accuracy=1.0")
    project.run("dvc", "exp", "run", "-n", "wider", *(word for change in changes for word in ("-S", change)))
    return project


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project.root)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return project


def run_of(project, which):
    """Return the run of the committed model, or of the one in the workspace."""
    digest = file_digest(project.root / paths.MODEL_WEIGHTS)
    (found,) = [run for run in project.runs() if (run.data.tags["layershap.model"] == digest) == (which == "second")]
    return found


def asked(project, which):
    run = run_of(project, which)
    if which == "first":
        return ["HEAD", project.run("git", "rev-parse", "HEAD").stdout.strip()[:8], CHAMPION, run.info.run_id]
    (version,) = project.client().search_model_versions(f"run_id = '{run.info.run_id}'")
    return ["workspace", "wider", run.info.run_id, run.info.run_name, f"models:/layershap-folder/{version.version}"]


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_model_is_the_same_however_it_is_asked_for(inside, tmp_path, which):
    names = asked(inside, which)
    sides = [compare.resolve(name, tmp_path / str(number)) for number, name in enumerate(names)]
    for name, side in zip(names, sides, strict=True):
        assert side.lacking == (), name
        assert side.settings == sides[0].settings, name
        assert side.numbers == pytest.approx(sides[0].numbers), name
        assert side.verdict == sides[0].verdict == ("PASS" if which == "first" else "FAIL"), name
        for table in (paths.PREDICTIONS, paths.LEARNING_CURVE, paths.EXPLAINED_IMAGES):
            found, wanted = (pd.read_csv(one.folder / table) for one in (side, sides[0]))
            pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
        arrays = sorted(place.name for place in (side.folder / paths.EXPLAINED_ARRAYS).iterdir() if _compared(place))
        assert arrays
        for array in arrays:
            found, wanted = (np.load(one.folder / paths.EXPLAINED_ARRAYS / array) for one in (side, sides[0]))
            np.testing.assert_array_equal(found, wanted)
    assert sides[0].numbers["train/epochs"] == 4
    assert sides[0].settings["head.hidden"] == ("[8]" if which == "first" else "[16]")


def _compared(place):
    return any(place.name.endswith(f"_{kind}.npy") for kind in MAPS)


def cells(page, first):
    """Return the texts of the cells of the table's row that begins with `first`."""
    row = next(row for row in re.findall(r"<tr.*?</tr>", page, flags=re.S) if f"<td>{first}</td>" in row)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_the_page_says_what_the_files_say(inside, tmp_path):
    inside.run("layershap", "compare", "--no-record")  # the champion against the workspace
    page = (inside.root / paths.COMPARISON).read_text()
    first, second = (compare.resolve(name, tmp_path / name[:3]) for name in ("HEAD", "workspace"))
    assert cells(page, "head.hidden") == ["head.hidden", "[8]", "[16]"]
    assert "<td>train.epochs</td>" not in page
    metrics = read_json(inside.root / paths.EVALUATE_METRICS)
    before = first.numbers["accuracy"]
    assert cells(page, "accuracy")[1:4] == [f"{before:.4f}", f"{metrics['accuracy']:.4f}",
                                            f"{metrics['accuracy'] - before:+.4f}"]  # fmt: skip
    one, two = (pd.read_csv(side.folder / paths.PREDICTIONS) for side in (first, second))
    both = one.merge(two, on="pixels", suffixes=("_a", "_b"), validate="1:1")
    lost = int(((both["correct_a"] == 1) & (both["correct_b"] == 0)).sum())
    gained = int(((both["correct_a"] == 0) & (both["correct_b"] == 1)).sum())
    assert lost + gained > 0
    assert f"<b>{lost} lost, {gained} gained</b>" in page
    assert page.count("picture not here") == 0
    images = {}
    for side in (first, second):
        table = pd.read_csv(side.folder / paths.EXPLAINED_IMAGES)
        images[side.name] = dict(zip(table["name"], table.index, strict=True))
    common = [name for name in images["HEAD"] if name in images["workspace"]]
    assert len(common) >= SETTINGS["explain"]["images"]
    arrays = sorted((inside.root / paths.EXPLAINED_ARRAYS).glob("*_heatmap.npy"))
    for place in (arrays[0], arrays[-1]):
        title = place.name.removesuffix("_heatmap.npy").replace("_", " ", 1)
        title = f"{int(title.split(' ')[0])} {title.split(' ', 1)[1]}"
        correlations, shares = [], []
        for name in common:
            maps = []
            for side in (first, second):
                for kind in MAPS:
                    file = side.folder / paths.EXPLAINED_ARRAYS / place.name.replace("heatmap", kind)
                    maps.append(np.load(file)[images[side.name][name]].astype(float))
            a, error, b, other = maps
            correlations.append(np.corrcoef(a.ravel(), b.ravel())[0, 1])
            shares.append((np.abs(a - b) > 2 * np.sqrt(error**2 + other**2)).mean())
        wanted = [title, f"{np.mean(correlations):.3f}", f"{np.mean(shares) * 100:.1f} %", str(len(common))]
        assert cells(page, title) == wanted


def test_the_page_needs_nothing_else_and_is_small(inside):
    inside.run("layershap", "compare", CHAMPION, "wider", "--no-record")
    page = (inside.root / paths.COMPARISON).read_text()
    assert len(page.encode()) < 10_000_000
    assert "http:" not in page and "https:" not in page
    loaded = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)\)""", page)
    assert loaded and all(address.startswith("data:image/") for address, _ in loaded)
    assert "<script" not in page and "@import" not in page


def test_two_calls_give_the_same_bytes_and_dvc_sees_nothing(inside):
    before = inside.run("dvc", "status", "--json").stdout
    inside.run("layershap", "compare", "HEAD", "workspace", "--no-record")
    first = (inside.root / paths.COMPARISON).read_bytes()
    inside.run("layershap", "compare", "HEAD", "workspace", "--no-record", "--out", "again.html")
    assert (inside.root / "again.html").read_bytes() == first
    (inside.root / "again.html").unlink()
    assert re.search(rf"^compared +{paths.COMPARISON} ", inside.run("layershap", "summary").stdout, re.M)
    (inside.root / paths.COMPARISON).unlink()
    assert re.search(r"^compared +layershap compare ", inside.run("layershap", "summary").stdout, re.M)
    assert inside.run("dvc", "status", "--json").stdout == before


@pytest.mark.parametrize("second", ["workspace", "wider", "run"])
def test_the_page_is_kept_with_the_run_of_the_second(inside, second):
    run = run_of(inside, "second")
    place = inside.artifact(run, "compare.html")
    place.unlink(missing_ok=True)
    inside.run("layershap", "compare", CHAMPION, run.info.run_id if second == "run" else second, "--no-record")
    assert not place.exists()
    count = len(inside.runs())
    for _ in range(2):
        inside.run("layershap", "compare", CHAMPION, run.info.run_id if second == "run" else second)
        assert place.read_bytes() == (inside.root / paths.COMPARISON).read_bytes()
    assert len(inside.runs()) == count
    assert "compare.html" not in inside.artifacts(run_of(inside, "first"))


def test_the_page_waits_where_mlflow_is_out_of_reach(inside):
    place = inside.artifact(run_of(inside, "second"), "compare.html")
    place.unlink(missing_ok=True)
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = inside.run("layershap", "compare", "HEAD", "workspace", **away)
    assert "layershap sync" in done.stderr
    page = (inside.root / paths.COMPARISON).read_bytes()
    assert not place.exists()
    inside.run("layershap", "sync")
    assert place.read_bytes() == page


@pytest.mark.parametrize(
    ("name", "near"),
    [("widen", "wider"), ("models:/layershap-folder@champoin", CHAMPION), ("folder efficientnet_lite", "folder"),
     ("0" * 32, "")],
)  # fmt: skip
def test_unknown_names_are_one_sentence_with_near_ones(inside, name, near):
    done = inside.run("layershap", "compare", name, "workspace", expect=3)
    assert name in done.stderr and near in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_the_cache_lacks_is_named_with_the_way_to_it(inside, tmp_path):
    cache = inside.root / ".dvc" / "cache"
    cache.rename(inside.root / "elsewhere")
    try:
        side = compare.resolve("wider", tmp_path)
        (sentence,) = side.lacking
        assert "heatmaps of wider" in sentence and "dvc" in sentence
        assert side.file(paths.PREDICTIONS) is not None
        page = drawn(compare.compared(compare.resolve("HEAD", tmp_path / "head"), side))
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (inside.root / "elsewhere").rename(cache)
    assert "No image has heatmaps in both" in page
    assert "McNemar" in page


def changed_copy(inside, tmp_path):
    """Return a side like that of HEAD, in a folder that a test may change."""
    return compare.resolve("HEAD", tmp_path / "changed")


def test_other_test_images_are_said_and_not_paired(inside, tmp_path):
    side = changed_copy(inside, tmp_path)
    table = pd.read_csv(side.folder / paths.PREDICTIONS)
    table.iloc[1:].to_csv(side.folder / paths.PREDICTIONS, index=False)
    page = drawn(compare.compared(side, compare.resolve("workspace", tmp_path / "b")))
    assert "The test images of the two are not the same" in page
    assert "McNemar" not in page and "lost," not in page
    assert cells(page, "accuracy")[3].startswith(("+", "-"))


def test_networks_with_other_layers_stand_side_by_side_by_depth(inside, tmp_path):
    side = changed_copy(inside, tmp_path)
    folder = side.folder / paths.EXPLAINED_ARRAYS
    numbers = sorted({place.name.partition("_")[0] for place in folder.iterdir()})
    for place in list(folder.iterdir()):
        number, _, rest = place.name.partition("_")
        if number == numbers[-1]:
            place.unlink()  # a layer less
            continue
        kind = next(kind for kind in MAPS if rest.endswith(f"_{kind}.npy"))
        place.rename(folder / f"{number}_other{number}_{kind}.npy")
    other = compare.resolve("workspace", tmp_path / "b")
    page = drawn(compare.compared(side, other))
    assert "side by side by depth" in page
    found = compared_maps(side, other, None, None)
    assert len(found.layers) == len(numbers)
    assert f"{int(numbers[0])} other{numbers[0]} | " in page


def test_no_champion_is_named(inside, tmp_path):
    with pytest.raises(InputError, match=r"models:/layershap-x@champion.*PASS.*models:/layershap-folder@champion"):
        compare.resolve("models:/layershap-x@champion", tmp_path)


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off_or_loaded_in_a_browser(inside, browser, width):
    inside.run("layershap", "compare", "HEAD", "workspace", "--no-record")
    asked = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.goto((inside.root / paths.COMPARISON).resolve().as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # wider tables scroll in their own box; pictures are all there and within the page
    boxes = page.evaluate(
        "[...document.images].map(image => [image.naturalWidth, image.getBoundingClientRect().right])"
    )  # fmt: skip
    assert len(boxes) > 10 and all(natural > 0 and right <= width for natural, right in boxes)
    assert all(address.startswith(("file:", "data:")) for address in asked)
    page.close()
