import re

import numpy as np
import pandas as pd
import pytest

from layershap.data.split import enough, split_images, split_metrics
from layershap.workspace.errors import InputError
from layershap.workspace.params import Split


def table(counts, groups=("",), split=""):
    rows = []
    for label, count in counts.items():
        for index in range(count):
            group = groups[index % len(groups)]
            rows.append({"path": f"{label}/{index}.png", "label": label, "group": group, "split": split})
    return pd.DataFrame(rows).assign(pixels=lambda frame: frame["path"])


SETTINGS = Split(test=0.25, val=0.2, group=None, folds=None, fold=None, seed=3)


def test_shares_hold_in_every_class_and_group():
    images = table({"a": 200, "b": 80}, ("mono", "poly"))
    result = split_images(images, SETTINGS)
    assert list(result["path"]) == list(images["path"])
    for _, part in result.assign(group=images["group"]).groupby(["label", "group"]):
        shares = part["split"].value_counts(normalize=True)
        assert shares["test"] == pytest.approx(0.25, abs=0.02)
        assert shares["val"] == pytest.approx(0.15, abs=0.03)


def test_the_seed_decides():
    images = table({"a": 60, "b": 60})
    first = split_images(images, SETTINGS)
    assert first.equals(split_images(images, SETTINGS))
    assert not first.equals(split_images(images, SETTINGS.model_copy(update={"seed": 4})))


def test_copies_of_a_picture_stay_together():
    images = table({"a": 60, "b": 60})
    images["pixels"] = [str(index // 3) for index in range(120)]
    result = split_images(images, SETTINGS)
    assert result.assign(pixels=images["pixels"]).groupby("pixels")["split"].nunique().max() == 1
    assert split_metrics(images, result)["pictures_in_two_splits"] == 0


def test_own_splits_are_kept_and_val_is_cut_from_train():
    images = table({"a": 40, "b": 40})
    images["split"] = np.where(np.arange(80) % 4 == 0, "test", "train")
    result = split_images(images, SETTINGS)
    assert ((result["split"] == "test") == (images["split"] == "test")).all()
    assert (result["split"] == "val").sum() == 12


def test_a_picture_in_two_of_the_sources_splits_is_counted():
    images = table({"a": 40, "b": 40})
    images["split"] = np.where(np.arange(80) % 4 == 0, "test", "train")
    images.loc[1, "pixels"] = images.loc[0, "pixels"]
    assert split_metrics(images, split_images(images, SETTINGS))["pictures_in_two_splits"] == 1


def test_too_few_images_are_named():
    with pytest.raises(InputError, match="too few images"):
        split_images(table({"a": 40, "b": 2}), SETTINGS)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_with_too_few_images_is_told_how_many_are_enough(count):
    number = enough(SETTINGS, own=False)
    with pytest.raises(
        InputError, match=rf"class b: too few images \({count}\).*; {number} pictures of a class are enough"
    ) as caught:
        split_images(table({"a": 40, "b": count}), SETTINGS)
    assert "sklearn" not in str(caught.value)
    assert "n_splits" not in str(caught.value)
    assert "populated" not in str(caught.value)


@pytest.mark.parametrize("shares", [(0.25, 0.1), (0.25, 0.2), (0.5, 0.5), (0.1, 0.1), (0.3, 0.9), (0.9, 0.9)])
def test_as_many_as_are_said_to_be_enough_are(shares):
    split = SETTINGS.model_copy(update={"test": shares[0], "val": shares[1]})
    result = split_images(table({"a": enough(split, False), "b": enough(split, False)}), split)
    assert result.groupby("label")["split"].nunique().tolist() == [3, 3]


def test_own_splits_with_too_few_train_images_say_so():
    images = table({"a": 40, "b": 4})
    images["split"] = np.where(np.arange(44) % 2 == 0, "test", "train")
    with pytest.raises(InputError, match=rf"{enough(SETTINGS, own=True)} train images of a class are enough"):
        split_images(images, SETTINGS)


def days(counts, groups):
    """Pictures of `groups` days, the days mixed over the classes."""
    images = table(counts)
    images["path"] = [
        f"{path.split('/')[0]}/day{row * 7 % groups}/{row}.png" for row, path in enumerate(images["path"])
    ]
    return images.assign(pixels=images["path"])


def by_day(**others):
    return SETTINGS.model_copy(update={"group": "/(day[0-9]+)/", **others})


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_never_in_two_splits(seed):
    images = days({"a": 300, "b": 120}, 30)
    images.loc[0, "pixels"] = images.loc[1, "pixels"]  # one picture in two groups binds them
    result = split_images(images, by_day(seed=seed))
    day = images["path"].str.extract(r"/(day\d+)/")[0]
    assert result.groupby(day)["split"].nunique().max() == 1
    assert result.groupby(images["pixels"])["split"].nunique().max() == 1
    for label in "ab":
        shares = result[result["label"] == label]["split"].value_counts(normalize=True)
        assert shares["test"] == pytest.approx(0.25, abs=0.08)
        assert shares["val"] == pytest.approx(0.15, abs=0.08)
    assert result.equals(split_images(images, by_day(seed=seed)))


def test_without_groups_days_are_torn_apart():
    images = days({"a": 300, "b": 120}, 30)
    result = split_images(images, SETTINGS)
    assert result.groupby(images["path"].str.extract(r"/(day\d+)/")[0])["split"].nunique().max() == 3


def test_the_groups_seed_decides():
    images = days({"a": 300, "b": 120}, 30)
    assert not split_images(images, by_day()).equals(split_images(images, by_day(seed=4)))


def test_a_table_of_groups_is_followed(tmp_path):
    images = table({"a": 60, "b": 60})
    groups = pd.DataFrame({"path": images["path"], "group": [f"patient {row // 4}" for row in range(120)]})
    groups.sample(frac=1, random_state=0).to_csv(tmp_path / "patients.csv", index=False)
    result = split_images(images, SETTINGS.model_copy(update={"group": "patients.csv"}), tmp_path)
    assert result.groupby(groups["group"])["split"].nunique().max() == 1
    assert set(result["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "patients.csv cannot be read"),
        ("name,group\n", "has columns name, group"),
        ("path,group\na/0.png,1\na/0.png,2\n", "two groups for a/0.png"),
        ("path,group\nx.png,1\n", "fits no image, a/0.png"),
        ("path,group\na/0.png,1\n", "a/1.png stands not in patients.csv (119 of 120 images)"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path, content, expected):
    if content:
        (tmp_path / "patients.csv").write_text(content)
    with pytest.raises(InputError, match=re.escape(expected)):
        split_images(table({"a": 60, "b": 60}), SETTINGS.model_copy(update={"group": "patients.csv"}), tmp_path)


def test_a_table_that_dvc_would_not_watch_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"put it into data\.path"):
        split_images(table({"a": 60}), SETTINGS.model_copy(update={"group": "../patients.csv"}), tmp_path)


def test_a_pattern_that_fits_nothing_or_not_all_is_named():
    images = days({"a": 300, "b": 120}, 30)
    with pytest.raises(InputError, match=r"split\.group: /\(night\)/ fits no image, a/day0/0\.png"):
        split_images(images, by_day(group="/(night)/"))
    with pytest.raises(InputError, match=r"does not match /\(day1\)/ .*of 420"):
        split_images(images, by_day(group="/(day1)/"))


def test_a_group_in_two_of_the_sources_splits_is_named():
    images = days({"a": 40, "b": 40}, 10)
    images["split"] = np.where(np.arange(80) % 4 == 0, "test", "train")
    with pytest.raises(InputError, match=r"groups stand in more than one of the source's own splits, day"):
        split_images(images, by_day())


def test_too_few_groups_are_named():
    with pytest.raises(InputError, match="three groups of each class at least"):
        split_images(days({"a": 40, "b": 40}, 2), by_day())


def test_a_class_of_few_odd_groups_is_divided_as_a_whole():
    images = table({"a": 100, "b": 100})
    images["group"] = ["mono"] * 99 + ["poly"] + ["mono"] * 100
    assert set(split_images(images, SETTINGS)["split"]) == {"train", "val", "test"}
