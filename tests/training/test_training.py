import numpy as np
import pytest
import torch

from layershap.data.features import VIEWS, load_batch
from layershap.training.datamodule import EpochSampler, FeatureDataset, Item
from layershap.training.fit import LearningCurve, balanced_weights, train_tail
from tails import SETTINGS, cache_of, data, labels, model, pictures


@pytest.fixture
def cached(tmp_path, rng):
    paths = pictures(tmp_path, rng)
    return paths, cache_of(paths, tmp_path / "cache")


def test_the_cache_holds_every_view_of_every_image(cached):
    paths, cache = cached
    images = load_batch(paths, 24)
    for number, view in enumerate(cache.views):
        with torch.inference_mode():
            expected = model().features(VIEWS[view](images), stop=1)
        found = cache.rows(np.arange(40), np.full(40, number))
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    assert torch.equal(cache.rows(np.array([7, 3])), cache.rows(np.arange(40))[[7, 3]])


def test_training_learns_and_keeps_the_best_epoch(cached, tmp_path):
    chain = model()
    frozen = chain.layers[0][0].weight.clone()
    trained = train_tail(chain, 1, data(cached[1]), SETTINGS, tmp_path / "work")
    assert torch.equal(chain.layers[0][0].weight, frozen)
    assert not chain.training
    assert len(trained.curve) == 12
    assert trained.best_epoch == int(np.argmin([row["val_loss"] for row in trained.curve]))
    with torch.inference_mode():
        features = cached[1].rows(np.arange(30, 40))
        assert float((chain.tail(features, 1).argmax(1).numpy() == np.arange(30, 40) % 2).mean()) >= 0.9


def test_the_seed_decides_the_bits(cached, tmp_path):
    chains = [model() for _ in range(3)]
    for number, (chain, seed) in enumerate(zip(chains, (0, 0, 1), strict=True)):
        settings = SETTINGS.model_copy(update={"seed": seed})
        train_tail(chain, 1, data(cached[1], seed), settings, tmp_path / str(number))
    weights = [chain.head[2].weight for chain in chains]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class StopError(Exception):
    """Stands for what ends a process between two epochs."""


def test_an_interrupted_training_goes_on_to_the_same_weights(cached, tmp_path, monkeypatch):
    whole, broken = model(), model()
    expected = train_tail(whole, 1, data(cached[1]), SETTINGS, tmp_path / "whole")

    def interrupt(self, trainer, module):
        if trainer.current_epoch == 3:
            raise StopError

    monkeypatch.setattr(LearningCurve, "on_train_epoch_start", interrupt, raising=False)
    with pytest.raises(StopError):
        train_tail(broken, 1, data(cached[1]), SETTINGS, tmp_path / "broken")
    monkeypatch.undo()
    again = model()
    found = train_tail(again, 1, data(cached[1]), SETTINGS, tmp_path / "broken")
    assert found.best_epoch == expected.best_epoch
    assert [row["val_loss"] for row in found.curve] == [row["val_loss"] for row in expected.curve]
    assert torch.equal(again.head[2].weight, whole.head[2].weight)


@pytest.mark.parametrize(("patience", "epochs"), [(2, 30), (12, 4)])
def test_a_kill_after_the_last_epoch_adds_none(cached, tmp_path, patience, epochs):
    settings = SETTINGS.model_copy(update={"patience": patience, "epochs": epochs, "learning_rate": 1.0})
    whole, again = model(), model()
    expected = train_tail(whole, 1, data(cached[1]), settings, tmp_path / "work")
    assert (len(expected.curve) < epochs) == (patience == 2), "early stopping is what ends the first"
    files = {path.name: path.read_bytes() for path in (tmp_path / "work").glob("*.ckpt")}
    reported = []
    found = train_tail(
        again, 1, data(cached[1]), settings, tmp_path / "work", lambda epoch, metrics: reported.append(epoch)
    )
    assert found.best_epoch == expected.best_epoch
    assert found.curve == expected.curve
    assert not reported
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), again.parameters(), strict=True))
    assert {path.name: path.read_bytes() for path in (tmp_path / "work").glob("*.ckpt")} == files


@pytest.mark.parametrize("mix_alpha", [None, 0.4])
def test_sampler_depends_on_seed_and_epoch_alone(mix_alpha):
    first, second = EpochSampler(20, 2, 5, mix_alpha), EpochSampler(20, 2, 5, mix_alpha)
    list(first)
    first.set_epoch(3)
    second.set_epoch(3)
    assert list(first) == list(second)
    assert sorted(item.position for item in first) == list(range(20))
    assert {item.view for item in first} == {0, 1}
    assert (sorted(item.other for item in first) == list(range(20))) == (mix_alpha is not None)
    second.set_epoch(4)
    assert list(first) != list(second)


def test_mixing_draws_the_same_order_and_views_as_without():
    plain, mixed = EpochSampler(20, 2, 5), EpochSampler(20, 2, 5, 0.4)
    assert [(item.position, item.view) for item in plain] == [(item.position, item.view) for item in mixed]
    assert {item.share for item in plain} == {1.0}
    shares = [item.share for item in EpochSampler(4000, 2, 5, 1.0)]
    assert min(shares) >= 0.5
    assert np.mean(shares) == pytest.approx(0.75, abs=0.01)  # of the larger part of a uniform share


def test_a_mixed_image_is_its_share_of_both(cached):
    data_set = FeatureDataset(cached[1], labels(range(40)))
    items = [Item(4, 1, 7, 0, 0.75), Item(6, 0, 3, 1, 1.0), Item(5)]
    features, numbers, soft, size = data_set.__getitems__((9, items))
    one = cached[1].rows(np.array([4, 6, 5]), np.array([1, 0, 0]))
    torch.testing.assert_close(features[0], 0.75 * one[0] + 0.25 * cached[1].rows(np.array([7]))[0])
    assert torch.equal(features[1:], one[1:])
    assert soft.tolist() == [[0.75, 0.25], [1, 0], [0, 1]]
    assert numbers.tolist() == [0, 0, 1]
    assert size == 9


def test_balanced_weights_have_mean_one_over_the_images():
    numbers = torch.tensor([0] * 30 + [1] * 10)
    weights = balanced_weights(numbers, 2)
    assert float(weights[numbers].mean()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)
