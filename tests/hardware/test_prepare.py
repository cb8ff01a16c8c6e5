"""What the settings ask of a machine, and what it says where it has not that."""

import pytest
import torch

from layershap.hardware.prepare import build_fabric, join, needs_lightning, resolved
from layershap.workspace import ranks
from layershap.workspace.errors import SettingsError
from layershap.workspace.params import Trainer

PLAIN = {"accelerator": "auto", "devices": "auto", "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="is about a machine without a GPU")


def trainer(**changes) -> Trainer:
    return Trainer(**{**PLAIN, **changes})


@no_gpu
def test_one_process_on_the_processor_needs_nothing():
    found = join(trainer())
    assert (found.rank, found.count, found.device.type, found.fabric) == (0, 1, "cpu", None)
    assert found.share([1, 2, 3]) == [1, 2, 3]
    assert found.gathered("x") == ["x"]
    assert found.told("x") == "x"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        pytest.param({"accelerator": "gpu"}, "accelerator gpu", marks=no_gpu),
        pytest.param({"accelerator": "cuda"}, "accelerator cuda", marks=no_gpu),
        pytest.param({"accelerator": "mps"}, "accelerator mps", marks=no_gpu),
        ({"accelerator": "cpu", "precision": "16-mixed"}, "16-mixed needs a GPU"),
    ],
)
def test_what_the_machine_has_not_is_named(changes, name):
    with pytest.raises(SettingsError, match=name):
        build_fabric(trainer(**changes))


def test_mixed_precision_computes_in_bfloat16():
    processes = join(trainer(accelerator="cpu", precision="bf16-mixed"))
    with processes.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_devices_auto_are_as_many_as_the_launcher_started(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert (ranks.rank(), ranks.count(), ranks.first()) == (3, 6, False)
    found = resolved(trainer())
    assert (found["devices"], found["num_nodes"]) == (2, 3)
    assert resolved(trainer(devices=1, num_nodes=6))["num_nodes"] == 6


def test_a_rank_of_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    assert (ranks.rank(), ranks.count()) == (5, 8)
    assert resolved(trainer())["devices"] == 4


@pytest.mark.parametrize("changes", [{"devices": 2}, {"num_nodes": 2}, {"precision": "bf16-mixed"}])
def test_more_than_one_process_in_float32_is_lightnings(changes):
    assert needs_lightning(trainer(accelerator="cpu", **changes))


@pytest.mark.parametrize("changes", [{"devices": 0}, {"devices": "two"}, {"precision": "8-true"}, {"strategy": "fsdp"}])
def test_settings_that_are_none(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        trainer(**changes)
