"""dvc.yaml against the code: a stage that forgets a file or a setting would be taken for up to date."""

import json
import re

import pytest
from ruamel.yaml import YAML

from conftest import REPOSITORY
from imports import SOURCE, modules_used

PACKAGE = "src/layershap/"
PIPELINE = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
STUDIES = YAML(typ="safe").load(REPOSITORY / "study" / "dvc.yaml")["stages"]
STAGES = {**PIPELINE, **{name: stage for name, stage in STUDIES.items() if not name.startswith("record")}}
PARAMS = YAML(typ="safe").load(REPOSITORY / "params.yaml")
# what changes no byte of an out: DVC compares settings itself, names stand in dvc.yaml, the rest is for the eye
NO_BYTES = re.compile(r"workspace/(?!files)\w+\.py|progress\.py|launch\.py|torchvision_guard\.py|(\w+/)?__init__\.py")
# train writes its curve to MLflow while it runs, and no out by way of it
TRACKING = {"train": "tracking/", "folds": "tracking/"}
# settings of how fast something is done; that they change no byte is tested in tests/data
NO_BYTES_EITHER = {"loader", "tracking"}
SET_ELSEWHERE = {"trainer.devices", "trainer.num_nodes", "trainer.strategy"}  # by workspace/elsewhere.py


def dependencies(stage: str) -> list[str]:
    return [path.removeprefix("../") for path in STAGES[stage]["deps"]]


def settings(stage: str) -> set[str]:
    listed = STAGES[stage].get("params", [])
    return {name for item in listed for name in (item["../params.yaml"] if isinstance(item, dict) else [item])}


def settings_read(stage: str) -> set[str]:
    """Return the settings that a stage's script reads; a bare `params.<section>` stands for all its keys."""
    source = (SOURCE / "layershap" / "stages" / f"{stage}.py").read_text()
    found = set()
    for section, key in re.findall(r"\bparams\.(\w+)\b(?:\.(\w+))?", source):
        if section in PARAMS and section not in NO_BYTES_EITHER:
            found |= (
                {f"{section}.{key}"} if key in PARAMS[section] else {f"{section}.{name}" for name in PARAMS[section]}
            )
    if "prepare(params" in source:
        found |= {"runtime.threads", "trainer.accelerator"}
    return found


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "record"])
def test_what_a_stage_imports_is_a_dependency(stage):
    listed = [path.removeprefix(PACKAGE) for path in dependencies(stage) if path.startswith(PACKAGE)]
    for file in modules_used(f"layershap.stages.{stage}"):
        if NO_BYTES.fullmatch(file):
            continue
        if stage in TRACKING and file.startswith(TRACKING[stage]):
            continue
        assert any(file == path or file.startswith(f"{path}/") for path in listed), file


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_nothing_that_it_does_not_use(stage):
    used = modules_used(f"layershap.stages.{stage}")
    for path in dependencies(stage):
        assert (REPOSITORY / path).exists() or not path.startswith("src/")
        if path.startswith(PACKAGE):
            name = path.removeprefix(PACKAGE)
            # MLflow loads what serves, record keeps it with the model
            assert name == "serving" or any(file == name or file.startswith(f"{name}/") for file in used), path


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_read_is_a_parameter(stage):
    if "params.yaml" not in dependencies(stage):
        assert settings_read(stage) <= settings(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_leaf_keys_that_exist(stage):
    for name in settings(stage):
        section, key = name.split(".")
        assert not isinstance(PARAMS[section][key], dict)


def test_folds_depend_on_all_that_their_stages_do():
    """They run these; which fold is tested they choose themselves, and pictures of mistakes they do not draw."""
    theirs = settings("split") | settings("train") | settings("evaluate")
    chosen = {"split.fold", "split.test", "evaluate.mistakes", *SET_ELSEWHERE}
    assert settings("folds") == theirs - chosen


def test_dvc_yaml_is_short():
    assert len((REPOSITORY / "dvc.yaml").read_text().splitlines()) <= 240


COMPUTE = {"extract", "train", "evaluate", "explain"}
# an edit of this file, and the stages whose bytes it can change at once
EDITS = {
    "chain/chain.py": COMPUTE,
    "choosing/folds.py": set(),
    "cli.py": set(),
    "data/features/shards.py": COMPUTE,
    "data/images.py": COMPUTE | {"fetch", "report"},
    "data/masks.py": {"explain", "fetch"},
    "data/origins.py": {"report"},
    "data/split.py": {"split"},
    "data/workers.py": COMPUTE | {"fetch"},
    "explain/rules.py": {"explain"},
    "hardware/prepare.py": COMPUTE,
    "judging/evaluation.py": {"evaluate"},
    "judging/gate.py": {"gate"},
    "model/classifier.py": COMPUTE,
    "plots/words.py": {"evaluate", "explain", "report"},
    "progress.py": set(),
    "reporting/figures.py": {"evaluate", "explain", "report"},
    "reporting/decisions.py": {"evaluate", "report"},
    "reporting/report.py": {"report"},
    "reporting/templates/report.html.j2": {"report"},
    "serving/predictor.py": {"record"},
    "stages/train.py": {"train"},
    "study/quality.py": set(),
    "tracking/record.py": {"record"},
    "training/fit.py": {"train"},
    "workspace/files.py": set(PIPELINE) - {"record"},
    "workspace/params.py": set(),
}


def test_every_room_is_edited():
    rooms = {path.name for path in (SOURCE / "layershap").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {name.partition("/")[0] for name in EDITS if "/" in name}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", EDITS)
def test_an_edit_runs_again_what_it_can_change(tracked, file):
    path = tracked.root / PACKAGE / file
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        changed = json.loads(tracked.run("dvc", "status", "--json").stdout)
    finally:
        path.write_bytes(before)
    assert set(changed) == EDITS[file]
