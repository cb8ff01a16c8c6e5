import math
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import binomtest

from layershap.judging.gate import as_junit, as_markdown, decide, make_baseline, mcnemar, power

METRICS = {"accuracy": 0.9, "accuracy_low": 0.88, "accuracy_high": 0.92, "n_test": 1000, "test_digest": "abc"}
SPLIT = {"pictures_in_two_splits": 0}
EXPLAINED = {"images": 2, "layers": 3, "maps": 6, "constant_maps": 0, "largest_relative_gap": 1e-6}


def wrong(count, start=0):
    return {str(index) for index in range(start, start + count)}


def judge(
    metrics=METRICS, split=SPLIT, explained=EXPLAINED, mistakes=None, baseline=None, min_accuracy=0.8, max_drop=0.02,
    policy="point",
):  # fmt: skip
    mistakes = wrong(100) if mistakes is None else mistakes
    return decide(metrics, split, explained, mistakes, baseline, min_accuracy, max_drop, policy)


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


def simulate(drop, discordant=0.1, trials=1000, count=1000):
    """Return the share of FAIL among candidates whose true accuracy is `drop` below the baseline's.

    `discordant`: share of the images that only one of the two models decides rightly.
    """
    rng = np.random.default_rng(0)
    fails = 0
    for _ in range(trials):
        kind = rng.choice(3, size=count, p=[(discordant + drop) / 2, (discordant - drop) / 2, 1 - discordant])
        common = rng.random(count) < 0.05
        before = {str(i) for i in np.flatnonzero((kind == 1) | ((kind == 2) & common))}
        after = {str(i) for i in np.flatnonzero((kind == 0) | ((kind == 2) & common))}
        baseline = make_baseline(model(before), before)
        fails += judge(model(after), mistakes=after, baseline=baseline, max_drop=0.0).verdict == "FAIL"
    return fails / trials


def test_an_equal_model_rarely_fails():
    assert simulate(0.0) <= 0.05


def test_a_true_drop_of_two_points_is_caught():
    # models that share a backbone differ on few images; at 10 % of them about 6 in 10 are caught
    assert simulate(0.02, discordant=0.05) >= 0.8
    assert 0.5 < simulate(0.02, discordant=0.1) < 0.8


@pytest.mark.parametrize(
    ("policy", "minimum", "expected"),
    [("strict", 0.88, "WARN"), ("strict", 0.89, "FAIL"), ("lenient", 0.92, "WARN"), ("lenient", 0.93, "FAIL")],
)
def test_policies_look_at_the_ends_of_the_interval(policy, minimum, expected):
    found = judge(min_accuracy=minimum, policy=policy)
    assert found.verdict == expected
    assert f"policy {policy}" in found.reasons[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"maps": 5}, "5 heatmaps instead of 6"),
        ({"constant_maps": 2}, "2 heatmaps are the same everywhere"),
        ({"largest_relative_gap": 0.1}, "off by 0.1"),
        ({"largest_relative_gap": math.nan}, "off by nan"),
    ],
)
def test_heatmaps_that_cannot_be_right_are_invalid(change, reason):
    found = judge(explained={**EXPLAINED, **change})
    assert found.verdict == "INVALID"
    assert reason in found.reasons[0]


def test_power_is_what_a_simulation_finds():
    rng = np.random.default_rng(0)
    lost = rng.binomial(100, (0.1 + 0.04) / 0.2, size=4000)
    failed = [2 * a - 100 > 20 and mcnemar(int(a), 100 - int(a)) < 0.05 for a in lost]
    assert power(1000, 100, 0.04, 0.02) == pytest.approx(np.mean(failed), abs=0.02)
    assert power(1000, 100, 0.1, 0.02) == pytest.approx(1)
    found = judge(metrics=model(wrong(90)), mistakes=wrong(90), baseline=make_baseline(METRICS, wrong(100)))
    assert f"probability of {found.power:.0%}" in found.reasons[-1]


@pytest.mark.parametrize(
    ("minimum", "tag", "metrics"),
    [(0.8, None, METRICS), (0.95, "failure", METRICS), (0.8, "error", {"accuracy": None})],
)
def test_reports_for_ci_say_the_same(minimum, tag, metrics):
    found = judge(metrics={**METRICS, **metrics}, min_accuracy=minimum)
    case = ElementTree.fromstring(as_junit(found)).find("testcase")
    assert [child.tag for child in case if child.tag != "system-out"] == ([tag] if tag else [])
    assert found.reasons[0] in case.find("system-out").text
    assert as_markdown(found).startswith(f"### Gate: {found.verdict}\n")
