"""Where the heatmaps look: means and intervals by hand, what the gate says of them, and numbers that contradict."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from layershap.judging.evidence import InvalidEvidenceError
from layershap.judging.gate import Verdict
from layershap.judging.inside import read_inside, with_inside
from layershap.judging.inside_numbers import inside_summary

NAN = float("nan")
SHARES = [0.2, 0.4, 0.6]  # of three images with a mask; a fourth has none
PASS = Verdict("PASS", ["accuracy 0.9000 reaches 0.8"], 0.9, 0.9, 1.0)


def table() -> pd.DataFrame:
    """Rows of plots/layers.csv: two layers of four images, of which c has nothing for the decision at layer 3."""
    rows = []
    for number, name in ((2, "stem"), (3, "block1")):
        for image, share, area in zip("abcd", [*SHARES, NAN], [0.1, 0.2, 0.3, NAN], strict=True):
            nothing = image == "d" or (image == "c" and number == 3)
            values = {
                "inside_positive": NAN if nothing else share,
                "inside_size": NAN if nothing else share / 2,
                "inside_peak": NAN if nothing else float(share > 0.3),
                "inside_most": NAN if image == "d" else 0.7,
                "mask_area": area,
            }
            rows.append({"image": image, "layer": number, "name": name, "positive": 1.0, **values})
    return pd.DataFrame(rows)


@pytest.fixture
def files(tmp_path):
    explained, layers = tmp_path / "explain.json", tmp_path / "layers.csv"
    explained.write_text(json.dumps({"images": 4, "inside": inside_summary(table())}))
    table().to_csv(layers, index=False)
    return explained, layers


def found(files):
    return read_inside(*files)


def test_means_and_intervals_by_hand():
    summary = inside_summary(table())
    assert (summary["images"], summary["mask_area"]) == (3, pytest.approx(0.2))
    stem, block = summary["layers"]
    half = stats.t.ppf(0.975, 2) * np.std(SHARES, ddof=1) / np.sqrt(3)
    assert stem["positive"] == pytest.approx(0.4)
    assert (stem["positive_low"], stem["positive_high"]) == pytest.approx((max(0.4 - half, 0), 0.4 + half))
    assert (
        stem["size"] == pytest.approx(0.2)
        and stem["peak"] == pytest.approx(2 / 3)
        and stem["most"] == pytest.approx(0.7)
    )
    assert (block["number"], block["name"], block["images"]) == (3, "block1", 2)
    assert block["positive"] == pytest.approx(0.3)


def test_one_image_tells_no_interval_and_none_no_numbers():
    one = inside_summary(table().query("image == 'a'"))["layers"][0]
    assert (one["positive"], one["positive_low"], one["positive_high"]) == (0.2, 0.0, 1.0)
    assert inside_summary(table().drop(columns="mask_area")) is None


@pytest.mark.parametrize(
    ("minimum", "layer", "policy", "verdict"),
    [
        (0.4, "stem", "point", "PASS"),
        (0.41, 2, "point", "FAIL"),
        (0.41, 2, "lenient", "PASS"),
        (0.39, 2, "strict", "FAIL"),
        (0.3, None, "point", "PASS"),  # the last layer
        (0.31, None, "point", "FAIL"),
    ],
)
def test_the_policy_says_what_must_reach_it(files, minimum, layer, policy, verdict):
    judged = with_inside(PASS, found(files), minimum, layer, policy)
    assert judged.verdict == verdict
    assert f"gate.min_inside = {minimum:g} (policy {policy}" in judged.reasons[-1]
    if verdict == "FAIL":
        assert len(judged.reasons) == 1
        number = "0.4000 (95 % 0.0000 to 0.8968, 3 images)" if layer else "0.3000 (95 % 0.0000 to 1.0000, 2 images)"
        assert judged.reasons[0].startswith(f"{number} of what speaks for the decision at layer")
        assert "whose share of the area is 0.2000" in judged.reasons[0] and "report.html" in judged.reasons[0]


def test_a_layer_too_coarse_for_what_is_asked_is_said(files):
    judged = with_inside(PASS, found(files), 0.8, "stem", "point")
    assert judged.verdict == "FAIL"
    assert "maps of this layer can have 0.7000 inside at most" in judged.reasons[0]


def test_a_failing_accuracy_stays_said(files):
    failing = Verdict("FAIL", ["accuracy 0.5 is below 0.8"], 0.5, None, None)
    assert with_inside(failing, found(files), 0.9, None, "point").reasons[0] == "accuracy 0.5 is below 0.8"
    assert with_inside(failing, found(files), 0.1, None, "point").verdict == "FAIL"


def test_a_layer_that_is_none_is_invalid(files):
    judged = with_inside(PASS, found(files), 0.1, "block7", "point")
    assert judged.verdict == "INVALID"
    assert "gate.inside_layer = block7 is no layer: set it to one of 2 stem, 3 block1" in judged.reasons[0]


def test_without_masks_it_is_invalid_and_names_both_settings(files):
    explained, layers = files
    explained.write_text(json.dumps({"images": 4}))
    table().drop(columns=["inside_positive", "mask_area"]).to_csv(layers, index=False)
    judged = with_inside(PASS, read_inside(explained, layers), 0.5, None, "lenient")
    assert judged.verdict == "INVALID"
    assert "gate.min_inside = 0.5" in judged.reasons[0] and "data.masks" in judged.reasons[0]


def edit(files, change):
    content = json.loads(files[0].read_text())
    change(content["inside"])
    files[0].write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda inside: inside["layers"][0].update(positive=0.8, positive_high=1.0), "at layer 2 is not that of"),
        (lambda inside: inside["layers"][0].update(positive_low=0.5), "outside its own interval"),
        (lambda inside: inside["layers"][1].update(images=3), "at layer 3 is not that of"),
        (lambda inside: inside["layers"].pop(), "the layers with shares inside the masks are not those of"),
        (lambda inside: inside.update(mask_area=0.01), "mean area 0.01, are not those of"),
        (lambda inside: inside["layers"][0].update(positive=float("nan")), "positive"),
        (lambda inside: inside.pop("layers"), "inside.layers: field required"),
    ],
)  # fmt: skip
def test_edited_numbers_are_told_by_the_table(files, change, words):
    edit(files, change)
    with pytest.raises(InvalidEvidenceError, match=words):
        found(files)


def test_a_section_that_was_taken_out_is_told_by_the_table(files):
    files[0].write_text(json.dumps({"images": 4}))
    with pytest.raises(InvalidEvidenceError, match=r"has masks of 3 images and .* has none"):
        found(files)


@pytest.mark.parametrize("content", [None, "image,layer\na,2\n", "image,layer,mask_area\na,2,much\n"])
def test_a_table_that_is_missing_or_broken(files, content):
    files[1].unlink() if content is None else files[1].write_text(content)
    with pytest.raises(InvalidEvidenceError, match=r"layers\.csv"):
        found(files)
