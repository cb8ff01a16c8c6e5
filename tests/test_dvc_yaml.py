"""dvc.yaml against the code: a stage that forgets a module or a setting would be taken for up to date."""

import ast
import re

import pytest
from ruamel.yaml import YAML

from conftest import REPOSITORY
from imports import PIPELINES, SOURCE, modules_of_stage, modules_used

STAGES = {name: stage for path in PIPELINES for name, stage in YAML(typ="safe").load(path)["stages"].items()}
PARAMS = YAML(typ="safe").load(REPOSITORY / "params.yaml")


def params_read(stage: str) -> set[str]:
    """Return the settings that a stage's script reads; a bare `params.<section>` stands for all its keys."""
    source = (SOURCE / "layershap" / "stages" / f"{stage}.py").read_text()
    found = set()
    for section, key in re.findall(r"\bparams\.(\w+)\b(?:\.(\w+))?", source):
        if section in PARAMS:
            found |= (
                {f"{section}.{key}"} if key in PARAMS[section] else {f"{section}.{name}" for name in PARAMS[section]}
            )
    if "prepare(params)" in source:
        found |= {"runtime.threads"}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_module_is_a_dependency(stage):
    listed = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    assert listed == modules_of_stage(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_read_is_a_parameter(stage):
    if "params.yaml" not in STAGES[stage]["deps"]:
        assert params_read(stage) <= set(STAGES[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_leaf_keys_that_exist(stage):
    for name in STAGES[stage].get("params", []):
        section, key = name.split(".")
        assert not isinstance(PARAMS[section][key], dict)


def test_only_tracking_and_what_mlflow_loads_import_mlflow():
    users = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            users |= {path.name for name in names if name.partition(".")[0] == "mlflow"}
    assert users == {"tracking.py", "served_model.py"}


def test_the_numeric_core_stands_alone():
    for path in (SOURCE / "layershap" / "explain").glob("*.py"):
        name = f"layershap.explain.{path.stem}" if path.stem != "__init__" else "layershap.explain"
        used = {used for used in modules_used(name) if "/explain/" not in used}
        assert used == {"src/layershap/__init__.py"}
