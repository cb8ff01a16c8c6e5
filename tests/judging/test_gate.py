import time
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from layershap.judging.evidence import Baseline, Divided, Evaluated, Evidence, Explained
from layershap.judging.gate import as_junit, as_markdown, decide, make_baseline
from layershap.judging.statistics import exceeds, mcnemar, power

METRICS = {
    "accuracy": 0.9,
    "accuracy_low": 0.88,
    "accuracy_high": 0.92,
    "balanced_accuracy": 0.9,
    "n_test": 1000,
    "test_digest": "abcdefgh",
}
SPLIT = {"pictures_in_two_splits": 0, "test": {"a": 1000}}
EXPLAINED = {
    "images": 2,
    "layers": 3,
    "maps": 6,
    "constant_maps": 0,
    "largest_relative_gap": 1e-6,
    "engine": "secant",
}


def wrong(count, start=0):
    return {str(index) for index in range(start, start + count)}


def evidence(metrics=METRICS, split=SPLIT, explained=EXPLAINED, mistakes=None, baseline=None):
    known = Baseline.model_validate(baseline) if baseline else None
    mistakes = wrong(100) if mistakes is None else mistakes
    kinds = (Evaluated.model_validate(metrics), Explained.model_validate(explained), Divided.model_validate(split))
    return Evidence(*kinds, Counter(mistakes), known)


def judge(*, min_accuracy=0.8, max_drop=0.02, policy="point", **given):
    return decide(evidence(**given), min_accuracy, max_drop, policy)


def baseline_of(mistakes, **metrics):
    return make_baseline(evidence(metrics={**METRICS, **metrics}, mistakes=mistakes))


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


def test_other_test_images_than_the_baselines_are_invalid():
    assert judge(baseline=baseline_of(wrong(100), test_digest="of others")).verdict == "INVALID"


def test_a_picture_in_train_and_test_is_invalid():
    assert judge(split={**SPLIT, "pictures_in_two_splits": 1}).verdict == "INVALID"


@pytest.mark.parametrize(
    ("mistakes", "expected"),
    [
        (wrong(100), "PASS"),  # the same decisions
        (wrong(80), "PASS"),  # better
        (wrong(120), "PASS"),  # worse by exactly max_drop, which rounding makes 0.020000000000000018
        (wrong(121), "FAIL"),  # 21 more lost, none gained: no chance
        (wrong(121, start=90), "WARN"),  # 111 lost, 90 gained: chance
    ],
)
def test_drops(mistakes, expected):
    baseline = baseline_of(wrong(100))
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
        baseline = baseline_of(before, **model(before))
        fails += judge(metrics=model(after), mistakes=after, baseline=baseline, max_drop=0.0).verdict == "FAIL"
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
    assert power(1000, 100, 0.04, 0.02, 0.05) == pytest.approx(np.mean(failed), abs=0.02)
    assert power(1000, 100, 0.1, 0.02, 0.05) == pytest.approx(1)
    found = judge(metrics=model(wrong(90)), mistakes=wrong(90), baseline=baseline_of(wrong(100)))
    assert f"probability of {found.power:.0%}" in found.reasons[-1]


@pytest.mark.parametrize(
    ("given", "tag"),
    [
        ({"min_accuracy": 0.8}, None),
        ({"min_accuracy": 0.95}, "failure"),
        ({"explained": {**EXPLAINED, "constant_maps": 1}}, "error"),
    ],
)
def test_reports_for_ci_say_the_same(given, tag):
    found = judge(**given)
    case = ElementTree.fromstring(as_junit(found)).find("testcase")
    assert [child.tag for child in case if child.tag != "system-out"] == ([tag] if tag else [])
    assert found.reasons[0] in case.find("system-out").text
    assert as_markdown(found).startswith(f"### Gate: {found.verdict}\n")


@pytest.mark.parametrize(("before", "now"), [(0.90, 0.88), (0.3, 0.28), (0.57, 0.55)])
def test_exactly_the_largest_drop_passes(before, now):
    """D7: 0.90 - 0.88 is more than 0.02 in binary fractions."""
    assert not exceeds(before - now, 0.02)
    assert exceeds(before - now, 0.0199)


def test_images_are_compared_by_their_pixels_whatever_their_names():
    """D8: the same two pictures may stand twice; what is compared is pictures, each as often as it stands there."""
    twice = Counter({"picture": 2, "other": 1})
    known = make_baseline(evidence(metrics={**METRICS, "accuracy": 0.997}, mistakes=twice))
    found = judge(metrics={**METRICS, "accuracy": 0.998}, mistakes=Counter({"picture": 2}), baseline=known)
    assert "0 images lost, 1 gained" in found.reasons[-2]


def test_many_images_that_differ_take_no_time():
    """D9."""
    started = time.process_time()
    assert mcnemar(10_100, 9_900) == pytest.approx(binom.sf(10_099, 20_000, 0.5), rel=1e-9)
    assert 0 <= power(100_000, 20_000, 0.04, 0.02, 0.05) <= 1
    assert time.process_time() - started < 5


def test_power_is_the_sum_over_what_fails():
    failing = [
        lost for lost in range(101) if exceeds((2 * lost - 100) / 1000, 0.02) and mcnemar(lost, 100 - lost) < 0.05
    ]
    assert power(1000, 100, 0.03, 0.02, 0.05) == pytest.approx(binom.pmf(failing, 100, 0.65).sum(), rel=1e-9)


def test_the_sums_of_shap_are_estimates():
    """D10: that engine promises no exact sum; the secant engine does."""
    loose = {**EXPLAINED, "largest_relative_gap": 0.3}
    assert judge(explained=loose).verdict == "INVALID"
    found = judge(explained={**loose, "engine": "shap"})
    assert found.verdict == "WARN"
    assert "estimates" in found.reasons[1]
