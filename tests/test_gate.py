import math

import numpy as np
import pytest
from scipy.stats import binomtest

from layershap.gate import decide, make_baseline, mcnemar

METRICS = {"accuracy": 0.9, "accuracy_low": 0.88, "accuracy_high": 0.92, "n_test": 1000, "test_digest": "abc"}
SPLIT = {"pictures_in_two_splits": 0}


def wrong(count, start=0):
    return {str(index) for index in range(start, start + count)}


def judge(metrics=METRICS, split=SPLIT, mistakes=None, baseline=None, min_accuracy=0.8, max_drop=0.02):
    return decide(metrics, split, wrong(100) if mistakes is None else mistakes, baseline, min_accuracy, max_drop)


def model(mistakes):
    accuracy = 1 - len(mistakes) / 1000
    return {**METRICS, "accuracy": accuracy}


@pytest.mark.parametrize(("minimum", "expected"), [(0.9, "WARN"), (0.9001, "FAIL")])
def test_both_sides_of_the_threshold(minimum, expected):
    assert judge(min_accuracy=minimum).verdict == expected


def test_without_a_baseline_it_warns_and_says_how_to_make_one():
    found = judge()
    assert found.verdict == "WARN"
    assert "layershap baseline" in found.reasons[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", 1.5])
def test_a_metric_that_is_no_share_is_invalid(value):
    assert judge(metrics={**METRICS, "accuracy": value}).verdict == "INVALID"


def test_other_test_images_than_the_baselines_are_invalid():
    assert judge(baseline=make_baseline({**METRICS, "test_digest": "other"}, set())).verdict == "INVALID"


def test_a_picture_in_train_and_test_is_invalid():
    assert judge(split={"pictures_in_two_splits": 1}).verdict == "INVALID"


@pytest.mark.parametrize(
    ("mistakes", "expected"),
    [
        (wrong(100), "PASS"),  # the same decisions
        (wrong(80), "PASS"),  # better
        (wrong(119), "PASS"),  # worse, within max_drop
        (wrong(121), "FAIL"),  # 21 more lost, none gained: no chance
        (wrong(121, start=90), "WARN"),  # 111 lost, 90 gained: chance
    ],
)
def test_drops(mistakes, expected):
    baseline = make_baseline(METRICS, wrong(100))
    assert judge(metrics=model(mistakes), mistakes=mistakes, baseline=baseline).verdict == expected


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (3, 1), (1, 3), (30, 12), (200, 180)])
def test_mcnemar_is_the_exact_binomial_test(lost, gained):
    if lost + gained == 0:
        assert mcnemar(0, 0) == 1
    else:
        assert mcnemar(lost, gained) == pytest.approx(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue)


def simulate(drop, trials=1000, count=1000):
    """Return the share of FAIL among candidates whose true accuracy is `drop` below the baseline's."""
    rng = np.random.default_rng(0)
    fails = 0
    for _ in range(trials):
        kind = rng.choice(3, size=count, p=[0.05 + drop / 2, 0.05 - drop / 2, 0.9])
        common = rng.random(count) < 0.05
        before = {str(i) for i in np.flatnonzero((kind == 1) | ((kind == 2) & common))}
        after = {str(i) for i in np.flatnonzero((kind == 0) | ((kind == 2) & common))}
        baseline = make_baseline(model(before), before)
        fails += judge(model(after), mistakes=after, baseline=baseline, max_drop=0.0).verdict == "FAIL"
    return fails / trials


def test_an_equal_model_rarely_fails():
    assert simulate(0.0) <= 0.05
