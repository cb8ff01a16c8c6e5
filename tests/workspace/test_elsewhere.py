import os
import shutil
from pathlib import Path

import pytest

from conftest import REPOSITORY
from layershap.workspace import paths
from layershap.workspace.elsewhere import elsewhere, settings_elsewhere
from layershap.workspace.params import load_params


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "data" / "own").mkdir(parents=True)
    (tmp_path / "data" / "images.csv").write_text("its table")
    (tmp_path / "imagenet").mkdir()  # a folder of images may be called so
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody's")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_project_of_its_own_with_the_same_data(project):
    content = settings_elsewhere(load_params())
    content["train"]["seed"] = 7
    with elsewhere(Path("work/some/where"), content, {paths.IMAGES_TABLE: paths.IMAGES_TABLE}):
        assert Path.cwd() == paths.repository() == project / "work" / "some" / "where"
        assert load_params().train.seed == 7
        assert load_params().data.path == str(project / "data" / "own")
        assert paths.IMAGES_TABLE.read_text() == "its table"
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{project}/work/some/mlflow.db"
        assert "MLFLOW_RUN_ID" not in os.environ
    assert load_params().train.seed == 0


def test_everything_is_as_before_also_after_an_error(project):
    before = dict(os.environ)
    with pytest.raises(SystemExit), elsewhere(Path("work/some/where"), settings_elsewhere(load_params()), {}):
        raise SystemExit(130)
    assert Path.cwd() == project
    assert dict(os.environ) == before


def test_names_of_weights_are_no_paths_and_one_process_trains(project):
    content = settings_elsewhere(load_params())
    assert content["model"]["weights"] == "imagenet"
    assert content["trainer"]["devices"] == 1
    assert content["launcher"] is None
