"""A layer of tokens: the sum over those before the grid stands in pictures, numbers and the page, beside the map."""

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import REPOSITORY
from layershap.explain import explain_layers
from layershap.model.classifier import Description, numbered
from layershap.plots import sheets
from layershap.plots.panel import Panel
from layershap.reporting import figures
from layershap.reporting.contact_sheet import explained_sheet
from layershap.reporting.explained.arrays import layer_arrays
from layershap.reporting.explained.pictures import title, write_pictures
from layershap.reporting.layer_numbers import layer_means, layer_numbers, layer_sums, means_shown
from layershap.workspace.params import load_params
from nets import data, small_chain, token_chain
from pictures import check_legible, drawn

DESCRIPTION = Description("tokens", 8, ["cat", "dog"], 0, [], 0.0)
DECISION = {"name": "cat-1", "label": "cat", "predicted": "dog", "correct": 0, "probability": 0.8}
IMAGE = np.zeros((8, 8, 3))


@pytest.fixture(scope="module")
def explained():
    model = token_chain()
    images, references = data(count=1, dtype=torch.float32, shape=(3, 8, 8))
    found = numbered(explain_layers(model, images, references))
    # the class token decides in the end; before the first attention it is that of every image, and gets nothing
    assert found[3, "tokens"].prefix == 0
    assert found[5, "second"].prefix.abs() > 1e-3 and found[2, "patches"].prefix is None
    return found


@pytest.fixture
def plain():
    return numbered(explain_layers(small_chain(), *data(count=1)))


def texts(figure) -> list[str]:
    return [text for text, _ in drawn(figure)]


def test_what_is_written_adds_up(explained, tmp_path):
    settings = load_params(REPOSITORY / "params.yaml").explain
    write_pictures(tmp_path, DECISION, torch.rand(3, 8, 8), explained, DESCRIPTION, settings, "4 references")
    rows = layer_numbers("cat-1", explained)
    arrays = layer_arrays(explained)
    for row, (number, name) in zip(rows, explained, strict=True):
        prefix = float(arrays.get(f"{number:02d}_{name}_prefix.npy", 0.0))
        assert (f"{number:02d}_{name}_prefix.npy" in arrays) == (name != "patches")
        assert row["prefix"] == prefix
        assert arrays[f"{number:02d}_{name}_heatmap.npy"].sum() + prefix == pytest.approx(row["total"], abs=1e-5)
        assert row["positive"] + row["negative"] + row["prefix"] == pytest.approx(row["total"], abs=1e-5)
        assert row["total"] == pytest.approx(row["change"], abs=1e-5)
    assert len(list(tmp_path.rglob("*.png"))) == 4 + 2


def test_a_wrong_decision_is_marked():
    assert title(DECISION, DESCRIPTION) == "cat-1: cat, WRONGLY taken for dog (80% sure)"
    right = {**DECISION, "predicted": "cat", "correct": 1}
    assert title(right, DESCRIPTION) == "cat-1: cat, rightly taken for cat (80% sure)"


@pytest.mark.parametrize("grouped", [False, True])
def test_the_sheet_has_a_line_for_it_and_its_heading_says_what_is_summed(explained, grouped):
    figure = explained_sheet(IMAGE, explained, "a", "mean of 4 references", "log odds of dog", grouped=grouped)
    titles = {axis.get_title().partition("\n")[0]: axis.get_title().split("\n") for axis in figure.axes}
    assert f"prefix tokens {float(explained[5, 'second'].prefix[0]):+.2g}" in titles["5 second"]
    assert not any("prefix" in line for line in titles["2 patches"])
    assert titles["5 second"][-1].endswith("all 0") and "±" in titles["4 first"][-1]
    assert "every map with its prefix tokens" in figure.get_suptitle().replace("\n", " ")
    check_legible(figure)


def test_a_layers_picture_says_it(explained):
    panel = Panel("5 second", np.eye(4), np.eye(4) / 9, 0.1234)
    figure = sheets.layer_picture(IMAGE, panel, "a, layer 5 second", "log odds of dog")
    assert "a, layer 5 second; prefix tokens +0.12" in figure.get_suptitle()
    check_legible(figure)


def test_without_tokens_no_picture_speaks_of_them(plain):
    figure = explained_sheet(IMAGE, plain, "a", "mean of 4 references", "log odds of dog")
    assert "(sum of every map)" in figure.get_suptitle()
    rows = layer_numbers("a", plain)
    assert [row["prefix"] for row in rows] == [0.0] * 3
    assert len(layer_sums(rows)) == 2
    curve = figures.layers_curve({"a": layer_sums(rows)}, [2, 3, 4], "logit")
    assert not any("prefix" in text for text in [*texts(figure), *texts(curve)])
    assert "prefix" not in means_shown(layer_means(pd.DataFrame(rows)))


@pytest.mark.parametrize("count", [3, 30])
def test_the_curves_show_it_where_a_layer_has_one(explained, count):
    rows = layer_numbers("a", explained)
    sums = layer_sums(rows)
    assert np.isnan(sums[2][:2]).all() and sums[2][3] == rows[3]["prefix"]
    figure = figures.layers_curve({f"image {k}": sums for k in range(count)}, [2, 3, 4, 5], "logit")
    assert "prefix tokens" in texts(figure)
    (axis,) = figure.axes
    shown = [line.get_ydata() for line in axis.lines]
    assert any(len(values) == 4 and np.array_equal(values[2:], sums[2][2:]) for values in map(np.asarray, shown))
    check_legible(figure)


def test_the_means_over_images_have_it(explained):
    rows = [*layer_numbers("a", explained), *layer_numbers("b", explained)]
    rows[-1] = {**rows[-1], "prefix": rows[-1]["prefix"] + 1}
    means = layer_means(pd.DataFrame(rows))
    assert means[-1]["prefix"] == pytest.approx(rows[3]["prefix"] + 0.5)
    assert "prefix" in means_shown(means)
