"""A cache that is larger than the disk is refused before any work, with the numbers."""

import shutil
from pathlib import Path

import pytest
import torch

from layershap.data.features import extract_features
from layershap.data.features.shards import Shards
from layershap.data.features.space import NoSpaceError, check_space, free_space


def test_the_words_have_the_numbers(tmp_path):
    shards = Shards(["original", "flip_vertical"], [1280, 7, 7], 32_000, 128)
    expected = (
        r"^features need 8\.0 GB \(32,000 images x 2 views x 125\.4 kB\) and the disk of data/features has 3\.4 GB "
        r"free: free some, or ask for less with extract\.views, model\.image_size or data\.per_class$"
    )
    with pytest.raises(NoSpaceError, match=expected):
        check_space(shards, 3_400_000_000, Path("data/features"))
    needed = 32_000 * 2 * 125_440
    check_space(shards, needed, tmp_path)
    with pytest.raises(NoSpaceError):
        check_space(shards, needed - 1, tmp_path)


def test_free_space_is_that_of_the_disk_also_of_a_folder_to_be(tmp_path):
    found = free_space(tmp_path / "a" / "b")
    assert found == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_more_than_the_disk_is_refused_before_the_first_batch(tmp_path):
    """The images are not there at all: nothing was read when it is refused."""
    calls = []

    def huge(images):
        calls.append(images.shape)
        return torch.zeros(1, 1).expand(1, 2**40).view(1, 2**20, 2**10, 2**10)[:, :64]

    files = [tmp_path / "none.png"] * 1_000_000_000
    with pytest.raises(NoSpaceError, match=r"features need .* \(1,000,000,000 images x 1 view x 134\.2 MB\)"):
        extract_features(huge, files, ["original"], 8, 8, tmp_path / "features")
    assert calls == [(1, 3, 8, 8)]
    assert not list((tmp_path / "features").iterdir())
