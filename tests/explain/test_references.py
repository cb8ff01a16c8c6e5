from collections import Counter

import pytest

from layershap.explain import choose_references

LABELS = [0] * 30 + [1] * 10


@pytest.mark.parametrize("count", [2, 10, 20])
def test_half_of_each_class_without_repeats(count):
    chosen = choose_references(LABELS, count, seed=0)
    assert len(set(chosen)) == count
    assert Counter(LABELS[index] for index in chosen) == {0: count // 2, 1: count // 2}


def test_the_larger_class_fills_up():
    assert Counter(LABELS[index] for index in choose_references(LABELS, 30, 0)) == {0: 20, 1: 10}


def test_the_seed_decides_and_a_beginning_is_kept():
    assert choose_references(LABELS, 8, 1) == choose_references(LABELS, 8, 1)
    assert choose_references(LABELS, 8, 1) != choose_references(LABELS, 8, 2)
    assert choose_references(LABELS, 8, 1) == choose_references(LABELS, 12, 1)[:8]


@pytest.mark.parametrize("count", [0, 41])
def test_impossible_counts_are_named(count):
    with pytest.raises(ValueError, match=str(count)):
        choose_references(LABELS, count, 0)
