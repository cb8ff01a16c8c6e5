"""Which layers stand side by side, and how alike two maps are, against hand-computed values."""

import math

import numpy as np

from layershap.reporting.comparison.agreement import beyond, correlation, mean_known
from layershap.reporting.comparison.layers import Match, matched


def named(*names):
    return [(number, name) for number, name in enumerate(names, 2)]


def test_layers_of_one_network_stand_beside_themselves():
    layers = named("stem", "block1", "head")
    assert matched(layers, layers) == [Match(layer, layer, True) for layer in layers]


def test_a_layer_that_one_has_alone_stands_alone():
    first, second = named("stem", "block1", "block2"), named("stem", "block1", "extra")
    assert [match.title for match in matched(first, second)] == [
        "2 stem", "3 block1", "4 block2 (A alone)", "4 extra (B alone)"
    ]  # fmt: skip


def test_other_networks_are_matched_by_depth():
    first, second = named("conv1", "conv2", "conv3"), named("patch", "a", "b", "c", "d")
    found = matched(first, second)
    assert [(match.first[1], match.second[1]) for match in found] == [
        ("conv1", "patch"), ("conv1", "a"), ("conv2", "b"), ("conv3", "c"), ("conv3", "d")
    ]  # fmt: skip
    assert not any(match.by_name for match in found)
    assert found[0].title == "2 conv1 | 2 patch"


def test_correlation():
    first = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert math.isclose(correlation(first, 3 * first + 1), 1)
    assert math.isclose(correlation(first, -first), -1)
    assert math.isclose(correlation(first, np.array([[1.0, 0.0], [0.0, 1.0]])), 0, abs_tol=1e-12)
    assert math.isnan(correlation(first, np.ones((2, 2))))


def test_beyond_both_errors():
    # errors 3 and 4: together 5, so that 10 is the limit
    first, second = np.array([[0.0, 0.0, 20.0]]), np.array([[10.0, 10.1, 9.9]])
    error, other = np.full((1, 3), 3.0), np.full((1, 3), 4.0)
    assert beyond(first, second, error, other).tolist() == [[False, True, True]]
    assert beyond(first, second, error, np.full((1, 3), np.nan)) is None


def test_means_are_of_what_is_known():
    assert mean_known(np.array([0.5, np.nan, 1.0])) == 0.75
    assert mean_known(np.array([np.nan])) is None
