import math

import numpy as np
import pytest

from layershap.study.statistics import above_chance, holm, log_slope, mean_interval, more_hits_than_chance


def test_holm_against_the_rule_written_out():
    # sorted 0.01 0.02 0.03 0.5: times 4, 3, 2, 1, and never less than the one before
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        _, low, high = mean_interval(generator.normal(1.0, 2.0, size=60))
        covered += low <= 1.0 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_missing_values_are_left_out():
    assert mean_interval(np.array([1.0, np.nan, 3.0]))[0] == 2.0
    assert np.isnan(mean_interval(np.array([np.nan]))).all()


def test_chance_is_not_above_chance():
    generator = np.random.default_rng(0)
    wrong = np.mean([above_chance(generator.uniform(size=60), 0.5) < 0.05 for _ in range(300)])
    assert wrong < 0.09
    assert above_chance(generator.uniform(0.3, 1.0, size=60), 0.5) < 1e-3
    assert above_chance(np.full(5, 0.5), 0.5) == 1.0


@pytest.mark.parametrize("slope", [-0.5, 0.0, -1.0])
def test_a_slope_is_found_again(slope):
    counts = [1, 2, 4, 8, 16]
    generator = np.random.default_rng(0)
    amplitudes = np.array(counts) ** slope * generator.uniform(0.8, 1.2, size=(40, 5))
    found, low, high = log_slope(counts, amplitudes)
    assert found == pytest.approx(slope, abs=0.03)
    assert low <= found <= high
    assert high - low < 0.1


def test_an_amplitude_below_zero_has_no_slope():
    assert np.isnan(log_slope([1, 2], np.array([[-1.0, 1.0], [-1.0, 1.0]]))).all()


def test_hits_against_the_binomial_sum():
    expected = sum(math.comb(10, hits) * 0.1**hits * 0.9 ** (10 - hits) for hits in range(3, 11))
    assert more_hits_than_chance(3, 10, 0.1) == pytest.approx(expected)
    assert more_hits_than_chance(30, 120, 0.01) < 1e-20
