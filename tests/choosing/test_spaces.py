import re

import pytest

from conftest import REPOSITORY
from layershap.choosing.spaces import Range, Space, read_space, values_of, with_settings
from layershap.workspace.errors import SettingsError
from layershap.workspace.params import load_params, read_yaml

PARAMS = load_params(REPOSITORY / "params.yaml")


def read(tmp_path, text, name="one"):
    path = tmp_path / "search.yaml"
    path.write_text(text)
    return read_space(path, name, PARAMS)


@pytest.mark.parametrize("name", list(read_yaml(REPOSITORY / "study" / "search.yaml")))
def test_the_projects_own_spaces_are_valid_and_hold_its_settings(name):
    space = read_space(REPOSITORY / "study" / "search.yaml", name, PARAMS)
    assert space.holds(values_of(PARAMS, space))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("head.droput: [0.1]", "head.droput: no such setting in params.yaml"),
        ("dropout: [0.1]", "dropout: no such setting"),
        ("explain.segments: [1, 2]", "explain.segments: cannot be searched, only settings of augment, extract"),
        ("split.seed: [0, 1]", "split.seed: cannot be searched"),
        ("train.class_weights: [true, false]", "train.class_weights: cannot be searched: another one makes"),
        ("head.dropout: [0.1, 1.5]", "head.dropout: input should be less than 1, not 1.5"),
        ("head.dropout: {from: 0.1, to: 1.5}", "head.dropout: input should be less than 1, not 1.5"),
        ("head.dropout: {from: 0.5, to: 0.1}", "from must be less than to, and is 0.5 to 0.1"),
        ("head.dropout: {from: 0.0, to: 0.5, log: true}", "log: true needs from above 0"),
        ("head.dropout: {from: 0.0, high: 0.5}", "head.dropout: to: "),
        ("train.epochs: {from: 1, to: 9, step: 0.5}", "step must be a whole number"),
        ("train.epochs: {from: 1.0, to: 9.0}", "train.epochs: input should be a valid integer"),
        ("head.dropout: 0.5", "must be a list of values or a range"),
        ("head.dropout: []", "must be a list of values or a range"),
        ("head.dropout: [0.5, 0.5]", "names a value twice"),
    ],
)
def test_a_wrong_one_is_named(tmp_path, line, expected):
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        read(tmp_path, f"one:\n  {line}\n")
    assert "search.yaml: one: " in str(caught.value)


def test_every_wrong_setting_has_a_line(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "one:\n  head.dropout: [7]\n  head.other: [1]\n")
    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_space_is_named_with_those_that_are_there(tmp_path):
    with pytest.raises(SettingsError, match="no space 'two'; there are one"):
        read(tmp_path, "one:\n  head.dropout: [0.1]\n", "two")


def test_a_range_between_whole_numbers_is_of_whole_numbers(tmp_path):
    space = read(tmp_path, "one:\n  train.epochs: {from: 1, to: 30}\n  head.dropout: {from: 0, to: 0.5}\n")
    assert [choice.whole for choice in space.settings.values()] == [True, False]


def test_what_lies_in_a_space():
    space = Space("one", {"head.hidden": [[], [8]], "head.dropout": Range(**{"from": 0.1, "to": 0.5})})
    assert space.holds({"head.hidden": [8], "head.dropout": 0.1})
    assert not space.holds({"head.hidden": [9], "head.dropout": 0.1})
    assert not space.holds({"head.hidden": [8], "head.dropout": 0.6})


def test_settings_are_changed_in_a_copy():
    content = {"head": {"hidden": [1], "pool": 0}, "launcher": None}
    assert with_settings(content, {"head.hidden": [2]}) == {"head": {"hidden": [2], "pool": 0}, "launcher": None}
    assert content["head"]["hidden"] == [1]
