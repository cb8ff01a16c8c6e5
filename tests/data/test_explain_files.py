"""Case I7: `layershap explain` of several files, some of which are no images, with a model that was never trained."""

import shutil

import pytest
from PIL import Image

from conftest import REPOSITORY, write_classes
from layershap.data.references import save_references
from layershap.model.classifier import Description, build_classifier, save_classifier
from layershap.serving.explain_files import explain_files
from layershap.workspace import paths
from layershap.workspace.errors import InputError


@pytest.fixture
def project(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    write_classes(tmp_path / "pictures", rng, count=2)
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    description = Description("resnet18", 32, ["disc", "square"], 0, [], 0.0)
    paths.MODELS.mkdir()
    save_classifier(build_classifier(description, "random"), description, paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    save_references(files, [0, 0, 1, 1], 32, 0, paths.MODEL_REFERENCES)
    return tmp_path


def test_a_file_that_is_no_image_is_named_and_the_others_are_done(project, capsys):
    Image.open(project / "pictures" / "disc" / "000.png").save(project / "first.jpg")
    Image.open(project / "pictures" / "disc" / "001.png").save(project / "last.jpg")
    (project / "text.jpg").write_text("no picture")
    files = [project / name for name in ("first.jpg", "text.jpg", "last.jpg")]
    with pytest.raises(InputError, match=r"1 of 3 files .*text\.jpg: not an image") as caught:
        explain_files(files, ["stage4_block2"], project / "out")
    assert caught.value.exit_code == 3
    assert {path.name for path in (project / "out").iterdir()} == {"first.png", "last.png"}
    assert "image 0" not in str(caught.value)
