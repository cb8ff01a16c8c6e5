import numpy as np
import pandas as pd
import pytest

from layershap.choosing.folds import summarise
from layershap.judging.intervals import t_interval


def test_the_interval_of_the_mean_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        low, high = t_interval(rng.normal(0.5, 0.05, 5).tolist())
        held += low <= 0.5 <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.02)


def test_it_stays_between_0_and_1_and_has_no_length_where_all_agree():
    assert t_interval([1.0, 0.9]) == (pytest.approx(0.3147, abs=1e-4), 1.0)  # 12.706 times 0.05 to both sides
    assert t_interval([0.75, 0.75, 0.75]) == (0.75, 0.75)


def test_the_mean_is_over_folds_and_what_is_pooled_over_images():
    evaluated = [{"accuracy": 1.0, "balanced_accuracy": 1.0}, {"accuracy": 0.5, "balanced_accuracy": 0.4}]
    found = summarise(evaluated, pd.DataFrame({"correct": [1, 1, 0, 1, 0, 0]}))
    assert (found["mean"], found["pooled"], found["images"], found["folds"]) == (0.75, 0.5, 6, 2)
