"""Row M2: names as MLflow takes them, one to one."""

import random

import pytest
from mlflow.utils.validation import _validate_metric_name

from layershap.tracking.names import changed_names, flatten, picture_key, safe_name

ODD = ["cats & dogs", "a(b)", "a+b", "50%", "猫", "犬", "кошка", "a:b", "a/b", "", " ", ".", "..", " a", "a ", "x" * 60,
       "猫" * 60, "猫" * 61, "a:26:b", "a&b", "$5", "tab\there", "é", "e\u0301"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_mlflow_takes_every_name(name):
    _validate_metric_name(f"test/per_class/{safe_name(name)}/precision")


def test_two_names_never_become_one():
    generator = random.Random(0)
    letters = "ab:&/. 2x6é猫_"
    names = {*ODD, *("".join(generator.choices(letters, k=generator.randint(0, 6))) for _ in range(20_000))}
    assert len({safe_name(name) for name in names}) == len(names)
    assert len({picture_key(name) for name in ODD}) == len(ODD)


def test_plain_names_stay():
    for name in ("functional", "val_loss", "layer 3", "n-1", "v1.5"):
        assert safe_name(name) == picture_key(name) == name
    assert changed_names(["cat", "cats & dogs"]) == {"cats :26: dogs": "cats & dogs"}
    assert flatten({"a": {"b&c": 1}}, "/") == {"a/b:26:c": 1}
