"""The recipe of training: learning rates, phases, clipping, smoothing, averages, and a resume in each of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conftest import REPOSITORY
from layershap.training.averaging import averaging_of
from layershap.training.fit import LearningCurve, TailClassifier, train_tail
from layershap.training.rates import groups_of_weights, schedule_of
from tails import cache_of, data, model, pictures, settings


@pytest.fixture
def cache(tmp_path, rng):
    return cache_of(pictures(tmp_path, rng), tmp_path / "cache")


def rates(recipe):
    """Return the learning rate of a single weight at 1 in each epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, found = schedule_of(optimizer, recipe), []
    for _ in range(recipe.epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_learning_rates_fall_by_half_a_cosine():
    assert rates(settings(epochs=4)) == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_learning_rates_rise_in_equal_steps_and_are_whole_thereafter(schedule):
    found = rates(settings(epochs=8, warmup_epochs=3, schedule=schedule))
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert found[3:] == pytest.approx(rates(settings(epochs=5, schedule=schedule)))


def test_constant_learning_rates_stay():
    assert rates(settings(epochs=7, schedule="constant")) == [1.0] * 7


def test_each_layer_below_learns_slower_and_layers_without_weights_do_not_count():
    layers = [nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)]
    head = nn.Linear(2, 2)
    groups = groups_of_weights(head, layers, settings(learning_rate=5.0, unfrozen_learning_rate=1.0, layer_decay=0.1))
    assert [group["lr"] for group in groups] == pytest.approx([5, 1, 0.1, 0.01])
    expected = [head, layers[3], layers[1], layers[0]]
    for group, module in zip(groups, expected, strict=True):
        assert [id(weight) for weight in group["params"]] == [id(weight) for weight in module.parameters()]


def test_a_weight_of_two_layers_is_in_one_group():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    groups = groups_of_weights(nn.Identity(), [first, second], settings(layer_decay=0.5, unfrozen_learning_rate=1.0))
    assert [(group["lr"], len(group["params"])) for group in groups] == [(1.0, 2), (0.5, 1)]
    torch.optim.AdamW(groups)  # which refuses a weight that is in two


def test_the_layers_rest_while_the_head_learns_alone(cache, tmp_path):
    before, after = model(), model()
    train_tail(after, 1, data(cache), settings(epochs=3, head_epochs=2), tmp_path / "work")
    last = torch.load(tmp_path / "work" / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(last["unfrozen.0.0.weight"], before.layers[1][0].weight)

    alone = settings(epochs=3, head_epochs=3)  # more than the settings allow, to see the first phase by itself
    train_tail(after := model(), 1, data(cache), alone, tmp_path / "alone")
    for one, two in zip(before.layers.state_dict().items(), after.layers.state_dict().items(), strict=True):
        assert torch.equal(one[1], two[1]), one[0]  # running statistics, too
    assert not torch.equal(before.head[2].weight, after.head[2].weight)


def steps_of(monkeypatch):
    """Return a list that the norm of all gradients is added to at each step of the optimizer."""
    norms = []
    plain = torch.optim.AdamW.step

    def step(self, closure=None):
        def watched():
            loss = closure()
            gradients = [w.grad.flatten() for group in self.param_groups for w in group["params"] if w.grad is not None]
            norms.append(float(torch.cat(gradients).norm()))
            return loss

        return plain(self, watched)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return norms


def test_gradients_are_clipped_by_their_norm_all_together(cache, tmp_path, monkeypatch):
    norms = steps_of(monkeypatch)
    train_tail(model(), 1, data(cache), settings(epochs=2), tmp_path / "free")
    free = norms.copy()
    norms.clear()
    limit = sorted(free)[0] / 2
    train_tail(model(), 1, data(cache), settings(epochs=2, gradient_clip=limit), tmp_path / "clipped")
    assert max(norms) <= limit * 1.001 < min(free)


def test_gradients_are_clipped_in_mixed_precision_too(cache, tmp_path):
    heads = {}
    for limit in (None, 1e-3):
        chain, recipe = model(), settings(epochs=2, gradient_clip=limit)
        options = {"precision": "bf16-mixed"}
        train_tail(chain, 1, data(cache), recipe, tmp_path / str(limit), trainer_options=options)
        heads[limit] = chain.head[2].weight
    assert not torch.equal(heads[None], heads[1e-3])


def test_smoothed_targets_are_those_of_torch_and_validation_has_none(cache):
    tail = TailClassifier(model(), 1, settings(label_smoothing=0.3, head_epochs=0), torch.tensor([0.5, 2.0]))
    tail.log_dict = lambda *_, **__: None  # without a trainer
    loader = data(cache).val_dataloader()
    batch = next(iter(loader))
    features, numbers, soft, _ = batch
    tail.eval()
    for part, smoothing in (("train", 0.3), ("val", 0.0)):
        found = tail._losses(part, batch, getattr(tail, f"{part}_loss"), getattr(tail, f"{part}_accuracy"))
        expected = nn.functional.cross_entropy(
            tail(features), soft, torch.tensor([0.5, 2.0]), reduction="none", label_smoothing=smoothing
        )
        torch.testing.assert_close(found, expected)
    assert set(numbers.tolist()) == {0, 1}


def steps_without_average(cache, folder, recipe, monkeypatch):
    """Return, of the same training without an average, the epoch and the last weights of the head after each step."""
    weights = []

    def keep(self, trainer, module, *_):
        weights.append((module.current_epoch, module.head[2].weight.detach().clone()))

    monkeypatch.setattr(LearningCurve, "on_train_batch_end", keep)
    train_tail(model(), 1, data(cache), recipe.model_copy(update={"average": "none"}), folder)
    monkeypatch.undo()
    return weights


@pytest.mark.parametrize(("average", "rate"), [("ema", 0.01), ("swa", 0.002), ("swa", 0.2)])
def test_the_average_is_what_is_validated_and_kept(cache, tmp_path, monkeypatch, average, rate):
    recipe = settings(average=average, epochs=6, swa_start=0.5, learning_rate=rate, class_weights=False)
    weights = steps_without_average(cache, tmp_path / "plain", recipe, monkeypatch)
    chain = model()
    trained = train_tail(chain, 1, data(cache), recipe, tmp_path / "averaged")
    taken = [weight for epoch, weight in weights if epoch <= trained.best_epoch]
    if average == "ema":
        expected = taken[0]
        for weight in taken[1:]:
            expected = 0.9 * expected + 0.1 * weight
    else:
        from_half = [weight for epoch, weight in weights if 3 <= epoch <= trained.best_epoch]
        expected = torch.stack(from_half).mean(0) if from_half else taken[-1]
    torch.testing.assert_close(chain.head[2].weight, expected)
    with torch.inference_mode():  # the loss that was monitored is that of the weights that are kept
        targets = torch.arange(30, 40) % 2
        loss = nn.functional.cross_entropy(chain.tail(cache.rows(np.arange(30, 40)), 1), targets)
    assert float(loss) == pytest.approx(trained.curve[trained.best_epoch]["val_loss"], rel=1e-4)


def test_without_an_average_there_is_no_callback():
    assert averaging_of(settings()) == []


class StopError(Exception):
    """Stands for what ends a process."""


FULL = {
    "head_epochs": 3, "warmup_epochs": 2, "layer_decay": 0.5, "gradient_clip": 1.0, "label_smoothing": 0.1,
    "learning_rate": 0.01,
}  # fmt: skip


# epochs 0, 1: warm-up; 0 to 2: the head alone; from 6 on: swa averages
@pytest.mark.parametrize("average", ["none", "ema", "swa"])
@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (2, 1), (3, 0), (4, 2), (6, 0), (8, 1), (11, 3)])
def test_a_training_killed_in_any_phase_goes_on_to_the_same_bytes(cache, tmp_path, monkeypatch, average, epoch, batch):
    recipe, mix = settings(average=average, swa_start=0.5, **FULL), 0.4 if average == "ema" else None
    whole, again = model(), model()
    expected = train_tail(whole, 1, data(cache, mix_alpha=mix), recipe, tmp_path / "whole")

    def interrupt(self, trainer, module, found, number):
        if (trainer.current_epoch, number) == (epoch, batch):
            raise StopError

    monkeypatch.setattr(LearningCurve, "on_train_batch_start", interrupt)
    with pytest.raises(StopError):
        train_tail(model(), 1, data(cache, mix_alpha=mix), recipe, tmp_path / "broken")
    monkeypatch.undo()
    reported = []
    found = train_tail(
        again, 1, data(cache, mix_alpha=mix), recipe, tmp_path / "broken", lambda number, _: reported.append(number)
    )
    assert reported == list(range(epoch + 1, 13))  # nothing is trained twice
    assert found == expected
    for (name, one), two in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


KILLED = """
import os, pathlib, signal, sys
import layershap.torchvision_guard
from layershap.data.features import FeatureCache
from layershap.training.fit import LearningCurve, train_tail
from tails import data, model, settings
from test_recipe import FULL

def interrupt(self, trainer, *rest):
    if trainer.current_epoch == 8:
        os.kill(os.getpid(), signal.SIGKILL)

LearningCurve.on_train_batch_start = interrupt
folder = pathlib.Path(sys.argv[1])
train_tail(model(), 1, data(FeatureCache(folder / "cache")), settings(average="swa", **FULL), folder / "broken")
"""


def test_a_process_killed_for_good_while_weights_are_averaged(cache, tmp_path):
    recipe = settings(average="swa", **FULL)
    path = os.pathsep.join([str(REPOSITORY / "tests"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, check=False, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    whole, again = model(), model()
    expected = train_tail(whole, 1, data(cache), recipe, tmp_path / "whole")
    assert train_tail(again, 1, data(cache), recipe, tmp_path / "broken") == expected
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), again.parameters(), strict=True))
