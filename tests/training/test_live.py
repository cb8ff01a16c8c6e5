"""The whole network trained on images that are read and augmented anew in each epoch."""

import multiprocessing

import numpy as np
import pytest
import torch

from layershap.data.features import FeatureCache, LiveImages, load_batch, read_pixels, seen, to_batch, write_live
from layershap.training.datamodule import EpochSampler, FeatureDataModule
from layershap.training.fit import LearningCurve, train_tail
from layershap.workspace.errors import InputError
from tails import SIZE, labels, model, pictures, settings

POLICIES = ["none", "flips", "standard", "strong"]
RECIPE = settings(
    epochs=6, learning_rate=0.01, unfrozen_learning_rate=0.005, layer_decay=0.5, head_epochs=2, warmup_epochs=1,
    average="ema",
)  # fmt: skip


@pytest.fixture
def paths(tmp_path, rng):
    return pictures(tmp_path, rng)


def live(paths, policy="standard", seed=0):
    return LiveImages(paths, SIZE, policy, False, seed)


def data(paths, policy="standard", workers=0, mix_alpha=None):
    return FeatureDataModule(live(paths, policy), labels(range(30)), labels(range(30, 40)), 8, 0, mix_alpha, workers)


@pytest.mark.parametrize("policy", POLICIES)
def test_view_0_is_the_image_as_it_is(paths, policy):
    assert torch.equal(live(paths, policy).rows(np.arange(7)), load_batch(paths[:7], SIZE))


def test_a_view_is_drawn_by_seed_image_and_number_whatever_is_beside_it(paths):
    found = live(paths, seed=3).rows(np.array([9, 4, 9]), np.array([2, 2, 5]))
    assert torch.equal(found[0], live(paths, seed=3).rows(np.array([9]), np.array([2]))[0])
    assert torch.equal(found[0], to_batch(seen(read_pixels(paths[9], SIZE), "standard_1", (3, 9, 2))[None])[0])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], live(paths, seed=4).rows(np.array([9]), np.array([2]))[0])


def test_each_epoch_has_a_view_of_its_own_and_a_repeated_one_the_same(paths):
    sampler = EpochSampler(5, live(paths).view_count, 0)
    for epoch in (0, 3, 0):
        sampler.set_epoch(epoch)
        assert {item.view for item in sampler} == {epoch + 1}


def test_the_whole_network_learns_and_is_the_same_with_workers(paths, tmp_path):
    before, chains, trained = model(), [model(), model()], []
    for chain, workers in zip(chains, (0, 2), strict=True):
        loaded = data(paths, "strong", workers, mix_alpha=0.3)
        trained.append(train_tail(chain, 0, loaded, RECIPE, tmp_path / str(workers)))
    assert trained[0] == trained[1]
    for (name, one), two in zip(chains[0].state_dict().items(), chains[1].state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    best = trained[0].best_epoch
    moved = not torch.equal(before.layers[0][0].weight, chains[0].layers[0][0].weight)
    assert moved == (best >= RECIPE.head_epochs)
    assert best >= RECIPE.head_epochs
    assert not multiprocessing.active_children()


class StopError(Exception):
    """Stands for what ends a process."""


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_killed_training_goes_on_to_the_same_bytes(paths, tmp_path, monkeypatch, epoch):
    whole, again = model(), model()
    expected = train_tail(whole, 0, data(paths), RECIPE, tmp_path / "whole")

    def interrupt(self, trainer, module, batch, number):
        if (trainer.current_epoch, number) == (epoch, 1):
            raise StopError

    monkeypatch.setattr(LearningCurve, "on_train_batch_start", interrupt)
    with pytest.raises(StopError):
        train_tail(model(), 0, data(paths), RECIPE, tmp_path / "broken")
    monkeypatch.undo()
    assert train_tail(again, 0, data(paths), RECIPE, tmp_path / "broken") == expected
    for (name, one), two in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_was_harmed_since_is_named_in_one_line(paths, tmp_path, workers):
    paths[17].write_bytes(b"text")
    with pytest.raises(InputError) as caught:
        train_tail(model(), 0, data(paths, "none", workers), RECIPE, tmp_path / "work")
    assert str(caught.value).startswith(f"{paths[17]}: not an image of a known format")
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_features_is_no_cache(tmp_path):
    write_live(tmp_path)
    with pytest.raises(InputError, match=r"holds no features, for model\.unfreeze was all: run 'dvc repro extract'"):
        FeatureCache(tmp_path)
