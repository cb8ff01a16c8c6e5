"""On a GPU: the same explanations, exact sums, trainings that repeat, and the stages from fetch to the record."""

import filecmp
import json
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.hardware.processes import Processes
from layershap.hardware.repeatable import repeatable_on
from layershap.training.fit import LearningCurve, train_tail
from nets import Residual, data, small_chain, token_chain
from project import SETTINGS, Project
from tails import cache_of, model, pictures, settings
from tails import data as training_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
STAGES = ("fetch", "split", "extract", "train", "evaluate", "explain", "gate", "report", "record")


def residual_chain():
    """Blocks with squeeze-and-excitation, and a pooled head."""
    torch.manual_seed(0)
    layers = [("stem", nn.Conv2d(3, 8, 3, padding=1)), ("one", Residual(8)), ("two", Residual(8))]
    return Chain(layers, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))).eval()


NETWORKS = {
    "plain": (lambda: small_chain(classes=3), (2, 8, 8)),
    "residual": (residual_chain, (3, 8, 8)),
    "tokens": (token_chain, (3, 8, 8)),
}


@pytest.fixture(params=["ieee", "tf32"])
def precision(request):
    """Let products be in float32, and in TF32, as people set it for speed."""
    products = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [product.fp32_precision for product in products]
    for product in products:
        product.fp32_precision = request.param
    yield request.param
    for product, value in zip(products, before, strict=True):
        product.fp32_precision = value


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", ["layer", "image"])
def test_a_gpu_explains_as_the_processor(network, path, dtype, precision):
    build, shape = NETWORKS[network]
    chain = build().to(dtype)
    images, references = data(dtype=dtype, shape=shape)
    wanted = explain_layers(chain, images, references, path=path)
    found = explain_layers(chain.cuda(), images.cuda(), references.cuda(), path=path)
    for name, layer in wanted.items():
        assert found[name].heatmap.is_cuda
        tolerance = 1e-4 if dtype == torch.float32 else 1e-9
        assert torch.allclose(found[name].heatmap.cpu(), layer.heatmap, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_sums_are_exact_inside_autocast(network, precision):
    build, shape = NETWORKS[network]
    images, references = (part.cuda() for part in data(dtype=torch.float32, shape=shape))
    with torch.autocast("cuda", torch.bfloat16):
        found = explain_layers(build().float().cuda(), images, references)
    for layer in found.values():
        assert layer.heatmap.dtype == torch.float32
        assert float(layer.gap.abs().max()) < 1e-4


class StopError(Exception):
    """Stands for what ends a process."""


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize(("epoch", "batch"), [(2, 1), (8, 2)])
def test_a_training_that_is_killed_goes_on_to_the_same_bytes(tmp_path, rng, monkeypatch, precision, epoch, batch):
    cache = cache_of(pictures(tmp_path, rng), tmp_path / "cache")
    options = {"accelerator": "gpu", "devices": 1, "precision": precision}
    recipe = settings(average="ema", head_epochs=3, warmup_epochs=2, gradient_clip=1.0, learning_rate=0.01)
    processes = Processes(device=torch.device("cuda"))
    repeatable_on(processes.device)

    def trained(folder):
        chain = model()
        found = train_tail(chain, 1, training_data(cache), recipe, folder, processes=processes, trainer_options=options)
        return chain, found

    whole, expected = trained(tmp_path / "whole")

    def interrupt(self, trainer, module, batch_, number):
        if (trainer.current_epoch, number) == (epoch, batch):
            raise StopError

    monkeypatch.setattr(LearningCurve, "on_train_batch_start", interrupt)
    with pytest.raises(StopError):
        trained(tmp_path / "broken")
    monkeypatch.undo()
    again, found = trained(tmp_path / "broken")
    assert found == expected
    for (name, one), two in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


LIVE = {"model.unfreeze": "all", "augment.policy": "standard", "augment.mix": "mixup", "evaluate.views": 2}
TUNED = {"model.unfreeze": 3, "train.average": "ema", "evaluate.views": 4, "trainer.precision": "16-mixed"}
WAYS = {"frozen": {}, "tuned": TUNED, "live": LIVE}


@pytest.fixture(scope="module", params=WAYS)
def project(request, tmp_path_factory):
    """A project whose stages ran on the GPU."""
    project = Project(tmp_path_factory.mktemp(request.param), np.random.default_rng(0), SETTINGS)
    project.change("gate.min_accuracy", 0.0)
    project.change("trainer.accelerator", "gpu")
    for name, value in WAYS[request.param].items():
        project.change(name, value)
    for stage in STAGES:
        project.run("layershap", stage)
    return project


OUTS = ("models", "explanations", "metrics")


def test_the_stages_give_the_same_bytes_again(project, tmp_path):
    """A GPU's kernels may add in any order, unless they are told not to."""
    again = project.copied_to(tmp_path / "again")
    for stage in STAGES[2:6]:
        again.run("layershap", stage)
    files = [path.relative_to(project.root) for out in OUTS for path in (project.root / out).rglob("*.*")]
    differ = [name for name in files if not filecmp.cmp(project.root / name, again.root / name, shallow=False)]
    assert files and not [name for name in differ if name.name not in ("gate.json", "gate.md")]


def test_a_killed_training_ends_as_an_undisturbed_one(project, tmp_path):
    again = project.copied_to(tmp_path / "again")
    process = subprocess.Popen(["layershap", "train"], cwd=again.root, env=again.environment(), start_new_session=True)
    work = again.root / "work" / "train"
    while process.poll() is None and not list(work.rglob("last.ckpt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again.run("layershap", "train")
    assert filecmp.cmp(project.root / "models" / "model.pt", again.root / "models" / "model.pt", shallow=False)


def test_the_processor_decides_as_the_gpu(project, tmp_path):
    here = project.copied_to(tmp_path / "here")
    here.change("trainer.accelerator", "cpu")
    here.change("trainer.precision", "32-true")
    before = pd.read_csv(here.root / "plots" / "layers.csv")
    for stage in ("evaluate", "explain"):
        here.run("layershap", stage)
    one, two = (pd.read_csv(p.root / "plots" / "predictions.csv") for p in (project, here))
    numbers = one.select_dtypes("number").columns
    np.testing.assert_allclose(one[numbers], two[numbers], atol=2e-4)
    after = pd.read_csv(here.root / "plots" / "layers.csv")
    numbers = [name for name in before.select_dtypes("number") if "gap" not in name]
    np.testing.assert_allclose(before[numbers], after[numbers], rtol=1e-3, atol=1e-3)


def test_the_sums_of_the_stage_are_exact(project):
    metrics = json.loads((project.root / "metrics" / "explain.json").read_text())
    assert metrics["largest_gap"] < 1e-3


def test_the_run_says_on_what_it_was_computed(project):
    tags = project.runs()[0].data.tags
    assert tags["machine.gpu"].startswith(torch.cuda.get_device_name())
