"""Cached features: the same files whoever computes them, read in any order, refused where they are not whole."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from layershap.data.features import VIEWS, FeatureCache, extract_features, load_batch
from layershap.data.features.shards import SHARD_BATCHES, SHARD_BYTES, Shards
from layershap.hardware.processes import Processes
from layershap.workspace.errors import InputError
from layershap.workspace.files import read_json

COUNT = 53
SIZE = 12
SEEN = ["original", "flip_vertical"]


@dataclass(frozen=True)
class OneOfSeveral(Processes):
    """A process whose others run before or after it, not beside it."""

    def wait(self) -> None:
        pass

    def told(self, value):
        return value


def frozen():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{number:02d}.png" for number in range(COUNT)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (15, 18, 3), dtype=np.uint8)).save(path)
    return paths


def extract(paths, target, batch_size=1, **options):
    extract_features(frozen(), paths, SEEN, SIZE, batch_size, target, **options)
    return target


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cache(pictures, tmp_path_factory):
    """53 images in shards of 16: the last one has 5."""
    return extract(pictures, tmp_path_factory.mktemp("cache"))


def plain(paths, batch_size):
    """Compute all features view by view, as float32 of what float16 holds: [views, N, C, H, W]."""
    views = []
    with torch.inference_mode():
        for view in SEEN:
            parts = []
            for start in range(0, len(paths), batch_size):
                images = VIEWS[view](load_batch(paths[start : start + batch_size], SIZE))
                parts.append(frozen()(images.contiguous(memory_format=torch.channels_last)).half().float())
            views.append(torch.cat(parts))
    return torch.stack(views)


def test_files_are_runs_of_whole_batches_and_the_last_is_short(cache):
    index = {"views": SEEN, "shape": [4, 5, 5], "images": COUNT, "rows": SHARD_BATCHES}
    assert read_json(cache / "index.json") == index
    for view in SEEN:
        arrays = [np.load(cache / view / f"{number:05}.npy") for number in range(4)]
        assert [array.shape for array in arrays] == [(16, 4, 5, 5)] * 3 + [(5, 4, 5, 5)]
        assert {array.dtype for array in arrays} == {np.dtype(np.float16)}
    assert len(contents(cache)) == 1 + 2 * 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_rows_in_any_order_are_the_plain_computation(pictures, tmp_path, batch_size):
    cache = FeatureCache(extract(pictures, tmp_path, batch_size))
    expected = plain(pictures, batch_size)
    rng = np.random.default_rng(1)
    for _ in range(3):
        indices, views = rng.permutation(COUNT), rng.integers(2, size=COUNT)
        assert torch.equal(cache.rows(indices, views), expected[views, indices])
    assert torch.equal(cache.rows(np.arange(COUNT)), expected[0])


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_three_processes_write_what_one_does(pictures, tmp_path, batch_size):
    one = contents(extract(pictures, tmp_path / "one", batch_size))
    for rank in (2, 1, 0):  # the first one checks and writes the index
        extract(pictures, tmp_path / "three", batch_size, processes=OneOfSeveral(rank, 3))
    assert contents(tmp_path / "three") == one


def test_a_process_that_never_came_leaves_no_index(pictures, tmp_path):
    extract(pictures, tmp_path, processes=OneOfSeveral(2, 3))
    with pytest.raises(InputError, match=r"original/00001\.npy is missing"):
        extract(pictures, tmp_path, processes=OneOfSeveral(0, 3))
    assert not (tmp_path / "index.json").exists()


def test_workers_change_no_byte(pictures, cache, tmp_path):
    for workers in (1, 3):
        assert contents(extract(pictures, tmp_path / str(workers), workers=workers)) == contents(cache)


@pytest.mark.parametrize("harm", ["missing", "truncated", "longer", "another shape"])
def test_a_shard_that_is_not_whole_is_refused_by_name(pictures, tmp_path, harm):
    file = extract(pictures, tmp_path) / "flip_vertical" / "00002.npy"
    if harm == "missing":
        file.unlink()
    elif harm == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "longer":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        np.save(file, np.load(file).reshape(16, 4, 25))
    with pytest.raises(InputError, match=r"flip_vertical/00002\.npy .*dvc repro"):
        FeatureCache(tmp_path)


def test_a_cache_of_an_earlier_version_is_said(tmp_path):
    (tmp_path / "index.json").write_text('{"views": ["original"], "shape": [1, 2, 2], "images": 3}')
    with pytest.raises(InputError, match=r"index\.json is of another version"):
        FeatureCache(tmp_path)


def test_maps_are_not_kept_without_bound(cache, monkeypatch):
    monkeypatch.setattr("layershap.data.features.cache.MOST_MAPS", 3)
    whole, bounded = FeatureCache(cache), FeatureCache(cache)
    order = np.random.default_rng(0).permutation(COUNT)
    for index in order:
        assert torch.equal(bounded.rows(np.array([index])), whole.rows(np.arange(COUNT))[[index]])
        assert len(bounded._maps) <= 3


def test_a_map_holds_no_file_open_and_cannot_be_written(cache):
    from pathlib import Path

    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("the system does not list open files")
    before = len(list(opened.iterdir()))
    features = FeatureCache(cache)
    features.rows(np.arange(COUNT))
    assert len(list(opened.iterdir())) == before
    with pytest.raises(ValueError, match="read-only"):
        features._map(0, 0)[0] = 1


def test_shards_follow_from_settings_and_stay_below_their_size():
    image = 2 * 1000 * 100 * 100
    plan = Shards.plan(["original"], [1000, 100, 100], 1000, 4)
    assert plan.rows == 4 * (SHARD_BYTES // (4 * image)) == 12
    assert plan.rows * plan.image_bytes <= SHARD_BYTES
    assert Shards.plan(["original"], [1000, 100, 100], 1000, 64).rows == 64  # one batch, whatever its size
    assert Shards.plan(["original"], [8, 2, 2], 1000, 64).rows == SHARD_BATCHES * 64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_features_that_float16_does_not_hold_name_the_image(pictures, tmp_path, value):
    bright = int(load_batch(pictures, SIZE).mean((1, 2, 3)).argmax())
    limit = load_batch(pictures, SIZE).mean((1, 2, 3)).sort().values[-2]

    def network(images):
        return torch.where(images.mean((1, 2, 3), keepdim=True) > limit, value, images)

    with pytest.raises(InputError, match=rf"{pictures[bright].name} \(view original\) .*model\.weights"):
        extract_features(network, pictures, SEEN, SIZE, 8, tmp_path)


def test_the_precision_of_the_settings_is_that_of_the_frozen_layers(pictures, tmp_path):
    from layershap.hardware.prepare import join
    from layershap.workspace.params import Trainer

    settings = Trainer(accelerator="cpu", devices=1, num_nodes=1, strategy="auto", precision="bf16-mixed")
    found = FeatureCache(extract(pictures, tmp_path, 8, processes=join(settings))).rows(np.arange(COUNT))
    assert torch.equal(found, found.bfloat16().float())
    assert 0 < float((found - plain(pictures, 8)[0]).abs().max()) < 0.02
