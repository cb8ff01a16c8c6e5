"""dvc.lock read without DVC: whatever shape it or dvc.yaml has, there is an answer in words."""

import copy

import pytest
from ruamel.yaml import YAML

from layershap.workspace import dvc_lock

PIPELINE = {
    "one": {
        "cmd": "true",
        "deps": ["a.txt", "${data.path}"],
        "params": ["data.path"],
        "outs": [{"b.txt": {"cache": False}}],
        "metrics": [{"c.json": {"cache": False}}],
    }
}
SETTINGS = {"data": {"path": "own"}}
BROKEN = (None, [], {}, "text", 3, [None], [{}], [[]], {"a": None})


def entry(root, name, text):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    from layershap.workspace.files import file_digest

    return {"path": name, "hash": "md5", "md5": file_digest(path, "md5"), "size": len(text)}


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """Write a stage's files and its entry in dvc.lock; return that."""
    monkeypatch.chdir(tmp_path)
    entry(tmp_path, "own/1.txt", "one")
    folder = {
        "path": "own",
        "hash": "md5",
        "md5": dvc_lock.folder_digest(tmp_path / "own", ["1.txt"]),
        "size": 3,
        "nfiles": 1,
    }
    stage = {
        "cmd": "true",
        "deps": [entry(tmp_path, "a.txt", "a"), folder],
        "params": {"params.yaml": {"data.path": "own"}},
        "outs": [entry(tmp_path, "b.txt", "b"), entry(tmp_path, "c.json", "{}")],
    }
    content = {"schema": "2.0", "stages": {"one": stage}}
    write(content)
    return content


def write(content):
    with open("dvc.lock", "w") as file:  # noqa: PTH123
        YAML().dump(content, file)


def test_what_is_as_it_was_has_no_differences(lock):
    assert dvc_lock.differences(SETTINGS, PIPELINE) == []


@pytest.mark.parametrize("name", ["a.txt", "b.txt", "c.json", "own/1.txt"])
def test_a_changed_file_is_named(lock, tmp_path, name):
    (tmp_path / name).write_text("other")
    (found,) = dvc_lock.differences(SETTINGS, PIPELINE)
    assert name.partition("/")[0] in found


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("key", ["cmd", "deps", "params", "outs", "metrics", None])
def test_any_shape_of_dvc_yaml_has_an_answer(lock, key, value):
    pipeline = copy.deepcopy(PIPELINE)
    if key:
        pipeline["one"][key] = value
    else:
        pipeline["one"] = value
    assert dvc_lock.differences(SETTINGS, pipeline)


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("key", ["cmd", "deps", "params", "outs", "stage", "stages"])
def test_any_shape_of_dvc_lock_has_an_answer(lock, key, value):
    if key == "stages":
        lock["stages"] = value
    elif key == "stage":
        lock["stages"]["one"] = value
    else:
        lock["stages"]["one"][key] = value
    write(lock)
    assert dvc_lock.differences(SETTINGS, PIPELINE)
