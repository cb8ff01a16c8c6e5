"""Settings given beside params.yaml: how a text is split, and what is wrong is named."""

import shutil
from pathlib import Path

import pytest

from conftest import REPOSITORY
from layershap.workspace.errors import SettingsError
from layershap.workspace.overrides import overridden, split_settings


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  \n ", []),
        ("train.epochs=5 head.hidden=[32]", ["train.epochs=5", "head.hidden=[32]"]),
        ("head.hidden=[64, 32]\ttrain.seed=1", ["head.hidden=[64, 32]", "train.seed=1"]),
        ("model.layers=[layer1.*, [a, b]] x=1", ["model.layers=[layer1.*, [a, b]]", "x=1"]),
        ("data.path='my own pictures' a=1", ["data.path='my own pictures'", "a=1"]),
        ('data.path="it\'s [here" a=1', ['data.path="it\'s [here"', "a=1"]),
        (r"data.path=my\ own a=1", [r"data.path=my\ own", "a=1"]),
        ("split.group='/(day[0-9]+)/' a=1", ["split.group='/(day[0-9]+)/'", "a=1"]),
        ("train.epochs=", ["train.epochs="]),
    ],
)
def test_spaces_part_settings_but_within_quotes_and_brackets(text, found):
    assert split_settings(text) == found


@pytest.mark.parametrize(
    ("text", "named"), [("head.hidden=[32", "]"), ("data.path='a b", "'"), ("train.epochs 5", "'train.epochs'")]
)
def test_what_cannot_be_split_is_named(text, named):
    with pytest.raises(SettingsError, match=named):
        split_settings(text)


def test_values_are_read_as_dvc_reads_them():
    before = Path("params.yaml").read_text()
    given = "train.epochs=5 head.hidden=[64, 32] data.path='my own pictures' split.group='/(day[0-9]+)/'"
    params = overridden(split_settings(f"{given} model.layers=[layer1.*] gate.min_accuracy=5e-1 data.per_class=null"))
    assert (params.train.epochs, params.head.hidden) == (5, [64, 32])
    assert (params.data.path, params.data.per_class) == ("my own pictures", None)
    assert (params.split.group, params.model.layers) == ("/(day[0-9]+)/", ["layer1.*"])
    assert params.gate.min_accuracy == 0.5
    assert Path("params.yaml").read_text() == before


def test_a_later_one_counts():
    assert overridden(["train.epochs=5", "params.yaml:train.epochs=6"]).train.epochs == 6


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("train.epoch=5", r"train\.epoch: unknown key"),
        ("trian.epochs=5", "trian: unknown key"),
        ("train.epochs=-1", r"train\.epochs: .* not -1"),
        ("train.epochs=many", r"train\.epochs: .* not 'many'"),
        ("split.group=/(a)/", "split.group=/.*cannot be read"),
        ("+train.epoch=5", r"train\.epoch: unknown key"),
        ("~train.epochs", r"train\.epochs: missing key"),
    ],
)
def test_a_wrong_one_is_named(setting, named):
    with pytest.raises(SettingsError, match=named):
        overridden([setting])


def test_several_values_for_a_queue_are_left_to_dvc():
    assert overridden(["train.epochs=1,2"]) == overridden([])
