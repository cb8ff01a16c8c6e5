import re
from pathlib import Path

import pytest

from conftest import REPOSITORY
from layershap.workspace.errors import SettingsError
from layershap.workspace.params import load_params

PARAMS = (REPOSITORY / "params.yaml").read_text()
# numbers that these tests name, whatever the project's default is
FROZEN = {
    "  unfreeze: 3": "  unfreeze: 0", "  epochs: 6\n": "  epochs: 20\n",
    "unfrozen_learning_rate: 0.0005 ": "unfrozen_learning_rate: 0.0001 ",
}  # fmt: skip
TEXT = PARAMS
for default, frozen in FROZEN.items():
    assert default in PARAMS
    TEXT = TEXT.replace(default, frozen)


def load(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(path)


def test_the_projects_own_settings_are_valid(tmp_path):
    assert load(tmp_path, TEXT).data.source == "elpv"


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    assert (
        load(tmp_path, TEXT.replace("learning_rate: 0.0001 ", "learning_rate: 1e-4 ")).train.unfrozen_learning_rate
        == 1e-4
    )
    assert load(tmp_path, TEXT.replace("  epochs: ", "  epochs: 01")).train.epochs >= 10


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("train:\n", "train:\n  surprise: 1\n", "train.surprise: unknown key"),
        ("  patience: ", "  patience_: ", "train.patience: missing key"),
        ("  weight_decay: ", "  weight_decay: .nan #", "train.weight_decay"),
        ("  weight_decay: ", "  weight_decay: .inf #", "train.weight_decay"),
        ("  class_weights: ", "  class_weights: yes #", "train.class_weights"),
        ("  epochs: ", "  epochs: -", "train.epochs"),
        ("  epochs: ", "  epochs: 1.5 #", "train.epochs"),
        ("  epochs: ", "  epochs: '7' #", "train.epochs"),
        ("  backbone: ", "  backbone: alex net #", "model.backbone: value error, must be the name of a network"),
        ("  schedule: ", "  schedule: step #", "train.schedule"),
        (
            "  warmup_epochs: ",
            "  warmup_epochs: 20 #",
            "train.warmup_epochs: value error, must be less than train.epochs",
        ),
        (
            "  head_epochs: ",
            "  head_epochs: 21 #",
            "train.head_epochs: value error, must be less than train.epochs (20)",
        ),
        (
            "  head_epochs: ",
            "  head_epochs: 2 #",
            "train.head_epochs: 2 epochs of the head alone need layers that join",
        ),
        ("  layer_decay: ", "  layer_decay: 1.1 #", "train.layer_decay"),
        ("  gradient_clip: ", "  gradient_clip: 0 #", "train.gradient_clip"),
        ("  label_smoothing: ", "  label_smoothing: 1.0 #", "train.label_smoothing"),
        ("  average: ", "  average: mean #", "train.average"),
        ("  ema_decay: ", "  ema_decay: 1.0 #", "train.ema_decay"),
        ("  swa_start: ", "  swa_start: 1.0 #", "train.swa_start"),
        ("  views: 1 ", "  views: 3 ", "evaluate.views: input should be 1, 2 or 4, not 3"),
        ("  unfreeze: 0", "  unfreeze: every", "model.unfreeze"),
        ("  unfreeze: 0", "  unfreeze: -1", "model.unfreeze"),
        ("  test: ", "  test: 1.5 #", "split.test"),
        (
            "  views: 2",
            "  views: [original, flip_horizontal] #",
            "extract.views: value error, is the number of views now, of "
            "those that augment.policy has: write 2 with policy flips, not ['original', 'flip_horizontal']",
        ),
        ("  views: 2", "  views: 0", "extract.views"),
        ("  views: 2", "  views: 5", "extract.views: 5 is more than augment.policy flips has: set it to 4 or less"),
        (
            "  policy: flips",
            "  policy: none ",
            "extract.views: 2 is more than augment.policy none has: set it to 1, or",
        ),
        ("  policy: flips", "  policy: crops #", "augment.policy"),
        ("  mix: none", "  mix: cutmix #", "augment.mix"),
        ("  mix_alpha: 0.2", "  mix_alpha: 0", "augment.mix_alpha"),
        (
            "  path: data/own",
            "  path: ~/pics",
            f"data.path: value error, ~ is not followed here, write {Path.home()}/pics",
        ),
        ("  path: data/own", "  path: ''", "data.path: value error, must name a folder"),
        ("  path: data/own", "  path: .", "data.path: value error, must not be the project's folder"),
        ("  path: data/own", "  path: ..", "data.path: value error, must not be the project's folder"),
        ("  path: data/own", "  path: data/own/../raw", "data.path: value error, must not be, hold or lie in data/raw"),
        ("  path: data/own", "  path: data ", "data.path: value error, must not be, hold or lie in data/"),
        ("  path: data/own", "  path: models/x ", "data.path: value error, must not be, hold or lie in models"),
        ("  path: data/own", f"  path: {Path.cwd()}/work ", "data.path: value error, must not be, hold or lie in work"),
        ("  masks: data/own_masks", "  masks: null #", "data.masks: value error, must name a folder; data/own_masks"),
        (
            "  masks: data/own_masks",
            "  masks: data/masks",
            "data.masks: value error, must not be, hold or lie",
        ),
        (
            "  masks: data/own_masks",
            "  masks: data/own/masks",
            "data.masks: data/own/masks must not be, hold",
        ),
        (
            "  masks: data/own_masks",
            "  masks: ./data/own",
            "data.masks: ./data/own must not be, hold",
        ),
        ("  min_inside: null", "  min_inside: 1.1 #", "gate.min_inside"),
        ("  inside_layer: null", "  inside_layer: 0 #", "gate.inside_layer"),
        ("  min_agreement: null", "  min_agreement: 2 #", "gate.min_agreement"),
        ("  images: 4 ", "  images: 0 #", "explain.images: input should be greater than or equal to 1, not 0"),
        ("  mistakes: 2 ", "  mistakes: -1 #", "explain.mistakes"),
        ("  pictures: 6 ", "  pictures: 0 #", "explain.pictures"),
        ("  images: 4 ", "  per_class: 3 #", "explain.per_class: unknown key (value 3)"),
        ("  group: null", "  group: 'day[0-9]+'", "split.group: value error, must have one group"),
        ("  group: null", "  group: '(day' #", "split.group: value error, is no regular expression"),
        ("  seed: 0", "  seed: -1", "data.seed"),
        ("gate:\n", "gate:\n  max_drop: 0.5\n", "max_drop"),
        ("gate:\n", "gate: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, old, new, expected):
    assert old in TEXT
    with pytest.raises(SettingsError, match=re.escape(expected)):
        load(tmp_path, TEXT.replace(old, new, 1))


def test_random_views_beside_the_image_as_it_is_are_asked_for(tmp_path):
    one_view = TEXT.replace("  views: 2", "  views: 1")
    with pytest.raises(
        SettingsError, match=r"extract\.views: 1 is the image as it is, and augment\.policy strong draws"
    ):
        load(tmp_path, one_view.replace("  policy: flips", "  policy: strong"))
    assert load(tmp_path, one_view.replace("  policy: flips", "  policy: none")).extract.views == 1


def test_where_nothing_is_cached_any_number_of_views_will_do(tmp_path):
    whole = TEXT.replace("  unfreeze: 0", "  unfreeze: all").replace("  policy: flips", "  policy: none")
    assert load(tmp_path, whole).extract.views == 2


def test_every_wrong_key_has_a_line(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, TEXT.replace("  epochs: ", "  epochs: -").replace("threads: ", "threads: 0 #"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words"])
def test_a_file_without_settings_is_named(tmp_path, text):
    with pytest.raises(SettingsError, match=r"params\.yaml"):
        load(tmp_path, text)


def test_no_file(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "path", ["data/own", "pictures", "../pictures", "/pictures", "data/ownership", "modelsandmore"]
)
def test_any_other_folder_may_hold_the_images(tmp_path, path):
    assert load(tmp_path, TEXT.replace("path: data/own ", f"path: {path} ")).data.path == path
