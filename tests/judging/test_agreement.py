"""What the gate says of the heatmaps beside the champion's: at most a WARN, and INVALID where nothing was kept."""

import json

import pytest

from layershap.judging.agreement import Agreement, read_agreement, with_agreement
from layershap.judging.gate import Verdict, as_json

PASS = Verdict("PASS", ["accuracy 0.9000 reaches 0.8"], 0.9, 0.9, 1.0)
LAYERS = [
    {"title": "2 stem", "correlation": 0.95, "images": 4},
    {"title": "3 block1", "correlation": 0.61, "images": 4},
    {"title": "4 block2", "correlation": None, "images": 0},
]
FOUND = Agreement.model_validate({"champion": "layershap-elpv, version 3", "images": 4, "layers": LAYERS})


@pytest.mark.parametrize(("minimum", "verdict"), [(0.6, "PASS"), (0.61, "PASS"), (0.62, "WARN"), (0.99, "WARN")])
def test_a_layer_below_it_is_a_warning(minimum, verdict):
    judged = with_agreement(PASS, FOUND, minimum)
    assert judged.verdict == verdict
    assert judged.reasons[0] == PASS.reasons[0]
    said = judged.reasons[-1]
    assert "layershap-elpv, version 3 on 4 images that both explained" in said
    assert f"gate.min_agreement = {minimum:g}" in said
    assert ("3 block1 (0.610)" in said) == (verdict == "WARN") and ("2 stem (0.950)" in said) == (minimum > 0.95)
    assert "4 block2" not in said


def test_it_makes_no_fail_better_and_no_fail_itself():
    failing = Verdict("FAIL", ["accuracy is below"], 0.5, None, None)
    assert with_agreement(failing, FOUND, 0.99).verdict == "FAIL"
    assert with_agreement(Verdict("INVALID", ["x"], None, None, None), FOUND, 0.99).reasons == ["x"]


@pytest.mark.parametrize(("none", "verdict"), [(True, "PASS"), (False, "WARN")])
def test_what_could_not_be_compared_is_said(none, verdict):
    """The first model has no champion to be like, and must be able to become it."""
    judged = with_agreement(PASS, Agreement(champion="models:/a@champion", reason="there is none", none=none), 0.5)
    assert judged.verdict == verdict and "there is none" in judged.reasons[-1]
    other = FOUND.model_copy(update={"layers": FOUND.layers[2:]})
    assert with_agreement(PASS, other, 0.5).verdict == "WARN"


def test_it_is_kept_for_whoever_judges_again(tmp_path):
    path = tmp_path / "gate.json"
    judged = with_agreement(PASS, FOUND, 0.9)
    path.write_text(json.dumps(as_json(judged)))
    assert read_agreement(path) == FOUND
    assert with_agreement(PASS, read_agreement(path), 0.9) == judged
    path.write_text(json.dumps(as_json(PASS)))
    assert "agreement" not in path.read_text()
    lost = with_agreement(PASS, read_agreement(path), 0.9)
    assert lost.verdict == "INVALID" and "run 'dvc repro' again" in lost.reasons[0]
