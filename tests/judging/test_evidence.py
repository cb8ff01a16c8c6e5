"""Rows D2 to D5: what the gate reads must be there, be readable, and agree with itself."""

import csv
import json

import pytest

from layershap.judging.evidence import InvalidEvidenceError, read_evidence

NAMES = ("evaluate.json", "explain.json", "split.json", "predictions.csv", "baseline.json")
WRONG = {3, 7}


@pytest.fixture
def files(tmp_path):
    """Write five files that agree; return their paths."""
    contents = {
        "evaluate.json": {
            "accuracy": 0.8,
            "accuracy_low": 0.5,
            "accuracy_high": 0.95,
            "balanced_accuracy": 0.8,
            "n_test": 10,
            "test_digest": "0123456789",
        },
        "explain.json": {
            "images": 1,
            "layers": 2,
            "maps": 2,
            "constant_maps": 0,
            "largest_relative_gap": 0.0,
            "engine": "secant",
        },
        "split.json": {"pictures_in_two_splits": 0, "test": {"a": 5, "b": 5}},
        "baseline.json": {
            "accuracy": 0.9,
            "accuracy_low": 0.6,
            "accuracy_high": 0.99,
            "n_test": 10,
            "test_digest": "0123456789",
            "wrong": {"picture-0003": 1},
        },
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    rows = []
    for number in range(10):
        label = "ab"[number % 2]
        predicted = "ba"[number % 2] if number in WRONG else label
        rows.append(
            {
                "path": f"{label}/{number}.png",
                "label": label,
                "predicted": predicted,
                "correct": int(number not in WRONG),
                "pixels": f"picture-{number:04d}",
                "p_a": 0.9 if predicted == "a" else 0.1,
                "p_b": 0.9 if predicted == "b" else 0.1,
            }
        )
    write(tmp_path / "predictions.csv", rows)
    return [tmp_path / name for name in NAMES]


def write(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refused(files):
    with pytest.raises(InvalidEvidenceError) as caught:
        read_evidence(*files)
    return caught.value.reasons


def test_what_agrees_is_read(files):
    found = read_evidence(*files)
    assert found.wrong == {"picture-0003": 1, "picture-0007": 1}
    assert found.baseline.wrong == {"picture-0003": 1}
    files[4].unlink()
    assert read_evidence(*files).baseline is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "NaN", '"text"', "\x00\x01", "[" * 100_000])
def test_a_broken_file_is_named(files, name, content):
    """D3, D5."""
    path = files[NAMES.index(name)]
    path.write_text(content)
    assert any(str(path) in reason for reason in refused(files))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_missing_file_is_named(files, name):
    path = files[NAMES.index(name)]
    path.unlink()
    assert any(str(path) in reason for reason in refused(files))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.8", 1.5, -0.1, True, [0.8]])
@pytest.mark.parametrize("name", ["evaluate.json", "baseline.json"])
def test_an_accuracy_that_is_no_share_is_named(files, name, value):
    path = files[NAMES.index(name)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "accuracy": value}))
    assert any("accuracy" in reason and str(path) in reason for reason in refused(files))


def test_rows_and_counts_must_agree(files):
    """D3: a table that was cut."""
    write(files[3], rows_of(files[3])[:-1])
    assert "has 9 images" in " ".join(refused(files))


def test_rows_and_accuracy_must_agree(files):
    """D2: an accuracy edited by hand."""
    content = json.loads(files[0].read_text())
    files[0].write_text(json.dumps({**content, "accuracy": 0.9}))
    assert "8 of 10 images right, which is not accuracy 0.9" in " ".join(refused(files))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("correct", "1", "correct is '1'"),
        ("predicted", "a", "not the class with most probability"),
        ("p_a", "0.95", "add up to"),
        ("p_a", "much", "is no number"),
        ("p_a", "nan", "not from 0 to 1"),
        ("pixels", "", "not a digest"),
    ],
)
def test_a_row_must_agree_with_itself(files, column, value, reason):
    rows = rows_of(files[3])
    rows[3][column] = value
    if column == "predicted":
        rows[3]["correct"], rows[3]["label"] = "1", "a"
        rows[3]["p_a"], rows[3]["p_b"] = "0.1", "0.9"
    write(files[3], rows)
    assert reason in " ".join(refused(files))
    assert "line 5" in " ".join(refused(files))


def test_a_baseline_must_agree_with_itself(files):
    content = json.loads(files[4].read_text())
    files[4].write_text(json.dumps({**content, "wrong": {}}))
    assert "contradicts itself" in " ".join(refused(files))
