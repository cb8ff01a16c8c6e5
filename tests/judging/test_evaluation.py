import numpy as np
import pytest

from layershap.judging.evaluation import evaluate_predictions, reliability_curve, wilson_interval


def slow_wilson(correct, count, z=1.959963984540054):
    share = correct / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


@pytest.mark.parametrize(("correct", "count"), [(90, 100), (1, 7), (656, 656), (0, 5)])
def test_wilson_interval_is_the_formula(correct, count):
    assert wilson_interval(correct, count) == pytest.approx(slow_wilson(correct, count), abs=1e-9)


def test_two_classes_by_hand():
    targets = np.array([0, 0, 0, 1])
    ones = np.array([0.1, 0.4, 0.8, 0.9])
    found = evaluate_predictions(targets, np.stack([1 - ones, ones], 1), ["a", "b"])
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["f1"] == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert found["roc_auc"] == 1.0
    assert found["per_class"]["a"] == {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": 0.8, "images": 3}
    # confidences .9 (right), .6 (right), .8 (wrong), .9 (right)
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.1 + 0.4 + 0.8) / 4)


def test_three_classes():
    probabilities = np.eye(3)[[0, 1, 2, 0]] * 0.7 + 0.1
    found = evaluate_predictions(np.array([0, 1, 2, 1]), probabilities, ["a", "b", "c"])
    assert found["accuracy"] == 0.75
    assert set(found["per_class"]) == {"a", "b", "c"}


def test_reliability_counts_every_image_once():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1], size=500)
    curve = reliability_curve(rng.integers(0, 2, 500), probabilities)
    assert curve["images"].sum() == 500
    assert curve["confidence"].is_monotonic_increasing
