import json
import re

import pytest

from conftest import REPOSITORY
from layershap.judging.evidence import InvalidEvidenceError
from layershap.judging.folds import Folds, deciding, read_folds, with_folds
from layershap.judging.gate import Verdict, invalid
from layershap.workspace.params import load_params

NUMBERS = {"folds": 2, "images": 100, "accuracy": [0.8, 0.9], "mean": 0.85, "mean_low": 0.8, "mean_high": 0.9}
BELONGS = {"images_md5": "abc", "settings": {"head.hidden": [8], "train.seed": 0}}
PASSED = Verdict("PASS", ["it is good"], 0.9, 0.9, 0.5)


def read(tmp_path, changed=None, settings=None, md5="abc"):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({**NUMBERS, **BELONGS, "more": 1, **(changed or {})}))
    return read_folds(path, settings or BELONGS["settings"], md5)


def test_what_agrees_is_read(tmp_path):
    assert read(tmp_path).mean_low == 0.8


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"changed": {"mean": 0.89}}, "contradicts itself: mean 0.89 is not that of its 2 folds"),
        ({"changed": {"folds": 3}}, "contradicts itself"),
        ({"changed": {"mean_high": 0.84}}, "mean 0.85 is outside its own interval"),
        ({"changed": {"accuracy": [0.8, 1.9]}}, "accuracy.1"),
        ({"settings": {"head.hidden": [4], "train.seed": 0}}, "head.hidden was [8] in the folds, and is [4] now"),
        ({"settings": {**BELONGS["settings"], "train.new": 1}}, "train.new was None in the folds, and is 1 now"),
        ({"md5": "another"}, "the folds are of other images than are here"),
    ],
)
def test_what_does_not_is_named_with_what_to_run(tmp_path, given, expected):
    with pytest.raises(InvalidEvidenceError, match=re.escape(expected)) as caught:
        read(tmp_path, **given)
    assert all("run 'make folds'" in reason for reason in caught.value.reasons)


def test_no_file_says_what_makes_it(tmp_path):
    with pytest.raises(InvalidEvidenceError, match=r"no .*folds\.json; run 'make folds'"):
        read_folds(tmp_path / "folds.json", {}, "")


@pytest.mark.parametrize(
    ("policy", "minimum", "expected"),
    [("strict", 0.8, "PASS"), ("strict", 0.81, "FAIL"), ("point", 0.85, "PASS"), ("point", 0.86, "FAIL"),
     ("lenient", 0.9, "PASS"), ("lenient", 0.91, "FAIL")],
)  # fmt: skip
def test_the_policy_says_what_must_reach_it(policy, minimum, expected):
    found = with_folds(PASSED, Folds.model_validate({**NUMBERS, **BELONGS}), minimum, policy)
    assert found.verdict == expected
    assert f"gate.folds_min_accuracy = {minimum:g} (policy {policy}" in found.reasons[-1]


def test_they_add_to_a_verdict_and_never_mend_one():
    folds = Folds.model_validate({**NUMBERS, **BELONGS})
    failed = Verdict("FAIL", ["it is bad"], 0.1, None, None)
    assert with_folds(failed, folds, 0.5, "point").verdict == "FAIL"
    assert with_folds(failed, folds, 0.99, "point").reasons[0] == "it is bad"
    assert with_folds(PASSED, folds, 0.99, "point").reasons[0].startswith("mean accuracy 0.8500 of 2 folds")
    assert with_folds(invalid(["broken"]), folds, 0.99, "point") == invalid(["broken"])


def test_what_changes_no_decision_is_not_compared():
    params = load_params(REPOSITORY / "params.yaml")
    names = set(deciding(params))
    assert {"split.folds", "split.group", "train.learning_rate", "model.backbone", "trainer.precision"} <= names
    assert not {"split.fold", "split.test", "explain.segments", "gate.policy", "runtime.threads", "launcher"} & names
