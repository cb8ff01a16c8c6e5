import re

import numpy as np
import pandas as pd
import pytest

from conftest import REPOSITORY
from layershap.data.folds import fold_numbers
from layershap.data.split import split_images, split_metrics
from layershap.workspace.errors import InputError, SettingsError
from layershap.workspace.params import Split, load_params

SETTINGS = Split(test=0.25, val=0.2, group=None, folds=5, fold=0, seed=3)


def table(counts, groups=("",)):
    rows = []
    for label, count in counts.items():
        for index in range(count):
            rows.append({"path": f"{label}/{index:03d}.png", "label": label, "group": groups[index % len(groups)]})
    return pd.DataFrame(rows).assign(pixels=lambda frame: frame["path"], split="")


def splits(images, settings=SETTINGS):
    return [split_images(images, settings.model_copy(update={"fold": fold})) for fold in range(settings.folds)]


def test_every_image_is_tested_once_and_each_class_and_group_evenly():
    images = table({"a": 202, "b": 83}, ("mono", "poly"))
    tested = np.stack([(result["split"] == "test").to_numpy() for result in splits(images)])
    assert (tested.sum(0) == 1).all()
    for _, rows in images.groupby(["label", "group"]):
        counts = tested[:, rows.index].sum(1)
        assert counts.max() - counts.min() <= 1


def test_validation_images_come_from_the_rest():
    for result in splits(table({"a": 100, "b": 60})):
        counts = result.groupby(["split", "label"]).size()
        assert counts["test"].to_list() == [20, 12]
        assert counts["val"].to_list() == [16, 10]  # a fifth of the others


def test_the_seed_decides():
    images = table({"a": 60, "b": 60})
    first = fold_numbers(images, SETTINGS)
    assert (first == fold_numbers(images, SETTINGS)).all()
    assert (first != fold_numbers(images, SETTINGS.model_copy(update={"seed": 4}))).any()


def test_copies_of_a_picture_are_in_one_fold():
    images = table({"a": 60, "b": 60})
    images["pixels"] = [str(index // 3) for index in range(120)]
    for result in splits(images):
        assert split_metrics(images, result)["pictures_in_two_splits"] == 0


def test_the_sources_own_splits_are_not_asked():
    images = table({"a": 50, "b": 50})
    divided = images.assign(split=np.where(np.arange(100) % 4 == 0, "test", "val"))
    for own, none in zip(splits(divided), splits(images), strict=True):
        assert own.equals(none)


def test_groups_stay_together_also_by_way_of_equal_pictures():
    images = table({"a": 90, "b": 90})
    days = np.arange(180) % 30
    images["path"] = [f"{label}/day{row % 30:02d}_{row}.png" for row, label in enumerate(images["label"])]
    images.loc[images.index[days == 7], "pixels"] = "the same picture"
    images.loc[images.index[days == 8][0], "pixels"] = "the same picture"
    settings = SETTINGS.model_copy(update={"group": "/(day[0-9]+)_"})
    tested = np.zeros(180, int)
    for result in splits(images, settings):
        assert result.assign(day=days).groupby("day")["split"].nunique().max() == 1
        assert result.loc[days == 7, "split"].iloc[0] == result.loc[days == 8, "split"].iloc[0]
        tested += (result["split"] == "test").to_numpy()
    assert (tested == 1).all()


def test_a_rare_group_is_divided_with_its_class():
    images = table({"a": 50, "b": 50})
    images.loc[:2, "group"] = "rare"
    tested = np.stack([(result["split"] == "test").to_numpy() for result in splits(images)])
    assert (tested.sum(0) == 1).all()
    assert tested[:, :50].sum(1).tolist() == [10] * 5


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (None, "class b: 4 pictures cannot be divided into split.folds = 5; set it to 4 or less"),
        ("/(.)", "class a: 1 groups by split.group cannot be divided into split.folds = 5; add images"),
    ],
)
def test_a_class_with_fewer_pictures_than_folds_is_named(group, expected):
    with pytest.raises(InputError, match=re.escape(expected)):
        split_images(table({"a": 90, "b": 4}), SETTINGS.model_copy(update={"group": group}))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("folds: 5", "folds: 1", "split.folds: input should be greater than or equal to 2, not 1"),
        ("folds: 5", "folds: 21", "split.folds: input should be less than or equal to 20, not 21"),
        ("fold: null", "fold: 5", "split.fold: value error, must be from 0 to 4, as split.folds is 5, not 5"),
        ("fold: null", "fold: -1", "split.fold: input should be greater than or equal to 0, not -1"),
        (
            "folds: 5                  # make folds: the images in so many equal parts, each the test set of one run "
            "(2 to 20)\n  fold: null",
            "folds: null\n  fold: 0",
            "split.fold: value error, must be null where split.folds is null",
        ),
    ],
)
def test_a_wrong_number_is_named(tmp_path, old, new, expected):
    text = (REPOSITORY / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=re.escape(expected)):
        load_params(tmp_path / "params.yaml")
