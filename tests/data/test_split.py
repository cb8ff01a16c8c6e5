import numpy as np
import pandas as pd
import pytest

from layershap.data.split import split_images, split_metrics
from layershap.workspace.errors import InputError
from layershap.workspace.params import Split


def table(counts, groups=("",), split=""):
    rows = []
    for label, count in counts.items():
        for index in range(count):
            group = groups[index % len(groups)]
            rows.append({"path": f"{label}/{index}.png", "label": label, "group": group, "split": split})
    return pd.DataFrame(rows).assign(pixels=lambda frame: frame["path"])


SETTINGS = Split(test=0.25, val=0.2, seed=3)


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
