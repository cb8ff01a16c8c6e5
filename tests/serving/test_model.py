"""The registered model: champion after a PASS, predictions as evaluate made them, explanations, HTTP."""

import base64
import io
import json
import urllib.request

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from servers import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NAME = "layershap-folder"


@pytest.fixture(scope="module")
def champion(tracked):
    mlflow.set_tracking_uri(f"sqlite:///{tracked.root / 'mlflow.db'}")
    return mlflow.pyfunc.load_model(f"models:/{NAME}@champion")


@pytest.fixture(scope="module")
def predictions(tracked):
    return pd.read_csv(tracked.root / "plots" / "predictions.csv")


def content(tracked, path):
    return (tracked.root / "data" / "raw" / path).read_bytes()


def test_the_champion_is_the_version_that_passed(tracked):
    client = MlflowClient(f"sqlite:///{tracked.root / 'mlflow.db'}")
    version = client.get_model_version_by_alias(NAME, "champion")
    assert json.loads((tracked.root / "metrics" / "gate.json").read_text())["verdict"] == "PASS"
    assert version.run_id in {run.info.run_id for run in tracked.runs()}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_predicts_what_evaluate_wrote(tracked, champion, predictions, count):
    rows = predictions.head(count)
    found = champion.predict(pd.DataFrame({"image": [content(tracked, path) for path in rows["path"]]}))
    assert list(found["class"]) == list(rows["predicted"])
    for name in ("disc", "square"):
        np.testing.assert_allclose([p[name] for p in found["probabilities"]], rows[f"p_{name}"], atol=1e-5)


def test_bytes_base64_and_pixels_are_one(tracked, champion, predictions):
    data = content(tracked, predictions["path"][0])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    given = [data, base64.b64encode(data).decode(), pixels, pixels.tolist()]
    found = champion.predict(pd.DataFrame({"image": given}))
    assert found["probability"].nunique() == 1


def test_it_explains_the_layers_asked_for(tracked, champion, predictions):
    table = pd.DataFrame({"image": [content(tracked, path) for path in predictions["path"][:2]]})
    found = champion.predict(table, params={"layers": "2, block6"})
    for explanation, probabilities in zip(found["explanation"], found["probabilities"], strict=True):
        assert [(row["layer"], row["name"]) for row in explanation] == [(2, "stem"), (8, "block6")]
        margin = np.log(probabilities["square"] / probabilities["disc"])
        for row in explanation:
            heatmap = np.array(row["heatmap"])
            assert heatmap.ndim == 2
            assert heatmap.sum() == pytest.approx(row["sum"], rel=1e-3, abs=1e-4)
            assert row["sum"] + row["expected"] == pytest.approx(margin, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("image", "message"), [(b"no image", "not an image"), ("###", "base64"), ([[[300, 0, 0]]], "0..255")]
)
def test_what_is_no_image_is_named(champion, image, message):
    with pytest.raises(Exception, match=message):
        champion.predict(pd.DataFrame({"image": [image]}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"segments": 65}, "segments must be from 1 to 64 here, not 65"),
        ({"segments": 0}, "segments must be from 1 to 64"),
        ({"path": "pixels"}, "path must be 'layer' or 'image', not 'pixels'"),
        ({"layers": "99"}, "no layer 99; there are 2 "),
    ],
)
def test_a_wrong_parameter_is_named(tracked, champion, predictions, wrong, message):
    table = pd.DataFrame({"image": [content(tracked, predictions["path"][0])]})
    with pytest.raises(Exception, match=message):
        champion.predict(table, params={"layers": "2", **wrong})


def test_it_is_served_over_http_with_an_explanation(tracked, predictions):
    command = ("mlflow", "models", "serve", "-m", f"models:/{NAME}@champion", "--env-manager", "local")
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tracked.root / 'mlflow.db'}"}
    file = io.BytesIO()
    Image.open(tracked.root / "data" / "raw" / predictions["path"][0]).convert("RGB").save(file, "JPEG", quality=95)
    body = {
        "dataframe_records": [{"image": base64.b64encode(file.getvalue()).decode()}],
        "params": {"layers": "19"},
    }
    with serving(tracked, *command, path="/ping", **environment) as address:
        request = urllib.request.Request(
            f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=120))
    (row,) = answer["predictions"]
    assert row["class"] in ("disc", "square")
    assert sum(row["probabilities"].values()) == pytest.approx(1)
    assert row["explanation"][0]["name"] == "head_conv"
    assert np.array(row["explanation"][0]["heatmap"]).shape == (2, 2)


def test_the_command_line_explains_any_image(tracked, tmp_path):
    odd = tmp_path / "an odd; name.jpg"
    Image.new("RGB", (90, 50), (200, 30, 30)).save(odd)
    done = tracked.run("layershap", "explain", str(odd), "--layer", "2", "--layer", "block6", "--out", str(tmp_path))
    assert "block6" in done.stdout
    assert min(Image.open(tmp_path / "an odd; name.png").size) > 200
    (tmp_path / "text.jpg").write_text("no image")
    done = tracked.run("layershap", "explain", str(tmp_path / "text.jpg"), expect=3)
    assert "not an image" in done.stderr
    done = tracked.run("layershap", "explain", str(odd), "--layer", "99", expect=3)
    assert "no layer 99" in done.stderr
    assert "Traceback" not in done.stderr


def test_paths_are_relative_to_where_the_user_stands(tracked):
    """R4."""
    folder = tracked.root / "a folder"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (90, 50), (200, 30, 30)).save(folder / "here.png")
    tracked.run("bash", "-c", "cd 'a folder' && layershap explain here.png --layer 19")
    assert (folder / "explained" / "here.png").exists()
    tracked.run("bash", "-c", "cd 'a folder' && layershap explain ../'a folder'/here.png --layer 19 --out ../there")
    assert (tracked.root / "there" / "here.png").exists()
