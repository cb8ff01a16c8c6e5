"""Images that two models decide differently, and numbers and settings beside each other."""

from pathlib import Path

import pandas as pd

from layershap.reporting.comparison import decisions, numbers
from layershap.workspace.compared.side import Side


def predictions(*rows):
    table = pd.DataFrame(rows, columns=["path", "label", "p_a", "p_b"])
    table["predicted"] = ["a" if one >= two else "b" for one, two in zip(table["p_a"], table["p_b"], strict=True)]
    table["correct"] = (table["label"] == table["predicted"]).astype(int)
    return table.assign(pixels=table["path"])


BEFORE = predictions(("1", "a", 0.9, 0.1), ("2", "a", 0.6, 0.4), ("3", "b", 0.7, 0.3), ("4", "b", 0.1, 0.9))
AFTER = predictions(("1", "a", 0.4, 0.6), ("2", "a", 0.1, 0.9), ("3", "b", 0.2, 0.8), ("4", "b", 0.2, 0.8))


def test_lost_and_gained_the_greatest_change_first():
    found = decisions.changed(BEFORE, AFTER)
    assert [row["paths"] for row in found["lost"]] == [["1", "1"], ["2", "2"]]  # both changed by 0.5: by name
    assert [row["paths"] for row in found["gained"]] == [["3", "3"]]
    assert found["other"] == []
    assert found["lost"][0]["predicted"] == ["a", "b"]
    assert found["lost"][0]["probability"] == [0.9, 0.6]


def test_not_more_than_so_many_are_shown_of_both_kinds():
    rows = {"lost": list(range(20)), "gained": list(range(20)), "other": []}
    assert [len(part) for part in decisions.shown(rows, 12).values()] == [6, 6]
    assert [len(part) for part in decisions.shown({**rows, "gained": [1]}, 12).values()] == [11, 1]
    assert [len(part) for part in decisions.shown({**rows, "lost": [1, 2]}, 12).values()] == [2, 10]


def test_what_is_taken_for_what():
    found = decisions.confusion(BEFORE, AFTER)
    assert found["matrix"] == [[(2, 0), (0, 2)], [(1, 0), (1, 2)]]
    assert found["pairs"] == [("a", "b", 0, 2), ("b", "a", 1, 0)]


def side(settings, known):
    return Side("run", "x", {}, settings, known, "", Path())


def test_settings_that_differ_alone():
    first, second = side({"a.x": "1", "a.y": "2", "old": "3"}, {}), side({"a.x": "1", "a.y": "5"}, {})
    assert numbers.settings(first, second) == [("a.y", "2", "5"), ("old", "3", "–")]


def test_numbers_beside_each_other():
    first = side({}, {"accuracy": 0.5, "accuracy_low": 0.4, "n_test": 4, "per_class/a/f1": 0.25, "train/epochs": 4})
    second = side({}, {"accuracy": 0.75, "per_class/a/f1": 0.5, "train/epochs": 8})
    rows = numbers.measured(first, second, {"accuracy": (0.1, 0.4), "per_class/a/f1": (-0.1, 0.6)})
    assert [(row["name"], row["difference"], row["sure"]) for row in rows] == [
        ("accuracy", 0.25, True), ("a: F1", 0.25, False)
    ]  # fmt: skip
    assert [(row["name"], row["first"], row["second"]) for row in numbers.others(first, second)] == [
        ("train: epochs", 4, 8)
    ]
