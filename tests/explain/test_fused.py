"""The compiled kernels against the plain torch versions of the same rules."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import REPOSITORY
from layershap.explain import explain_layers, rules, sums
from nets import data, small_chain
from secants import multipliers, rows


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("pool", [nn.MaxPool2d, lambda size: nn.MaxPool2d(3, size, 1)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize("path", ["layer", "image"])
def test_they_give_the_same(monkeypatch, dtype, memory_format, pool, activation, path):
    model = small_chain(dtype=dtype, pool=pool, activation=activation).to(memory_format=memory_format)
    images, references = data(dtype=dtype)
    images = images.contiguous(memory_format=memory_format)
    compiled = explain_layers(model, images, references, path=path, segments=3)
    assert rules.fused is not None, "numba comes with shap: the kernels are there"
    monkeypatch.setattr(rules, "fused", None)
    monkeypatch.setattr(sums, "fused", None)
    plain = explain_layers(model, images, references, path=path, segments=3)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    for name in model.names:
        torch.testing.assert_close(compiled[name].heatmap, plain[name].heatmap, **tolerance)
        torch.testing.assert_close(compiled[name].standard_error, plain[name].standard_error, **tolerance)


MASK = torch.tensor([True, False, True, True, False])
SMOOTH = {
    "softmax": lambda x: x.softmax(-1),
    "softmax over another axis": lambda x: x.softmax(2),
    "masked softmax": lambda x: x.masked_fill(~MASK, -torch.inf).softmax(-1),
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "rms norm": lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-6),
    "gelu": F.gelu,
    "leaky relu": F.leaky_relu,
    "matmul": lambda x: x @ x.mT,
    "matmul of a batch of its own": lambda x: x @ x[:, :1].mT,
}


@pytest.mark.parametrize("scale", [1, 1e-6, 1e3])
@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_smooth_rules_are_those_of_torch(monkeypatch, name, scale):
    points = rows(3, 4, 5)
    points = points[-1:] + (points - points[-1:]) * scale
    points[:2, 0] = points[-1, 0]  # some do not move
    points[0, 1, 2], points[1, 1, 2], points[2, 1, 2] = 0, 0, 0
    output, _, found = multipliers(SMOOTH[name], points)
    monkeypatch.setattr(rules, "fused", None)
    plain_output, _, plain = multipliers(SMOOTH[name], points)
    assert torch.equal(output, plain_output)
    torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-11)


ALONE = """
import sys
if "none" in sys.argv:
    sys.modules["numba"] = None
from layershap.explain import explain_layers, rules
from nets import data, small_chain
from secants import multipliers, rows
found = explain_layers(small_chain(), *data(), segments=3)
print(rules.fused and type(rules.fused._clamp._cache).__name__)
print(float(found["conv1"].heatmap[0, 0, 0]))
"""


@pytest.mark.parametrize(("numba", "cache"), [("none", "None"), ("there", "NullCache")])
def test_it_works_without_numba_and_where_nothing_can_be_written(tmp_path, numba, cache):
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / "layershap" / "explain" / "__pycache__").touch()  # no folder can be made there, even by root
    environment = {**os.environ, "HOME": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("XDG_CACHE_HOME", None)
    environment["PYTHONPATH"] = f"{tmp_path / 'src'}{os.pathsep}{REPOSITORY / 'tests'}"
    command = [sys.executable, "-c", ALONE, numba]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind, value = done.stdout.split()
    assert kind == cache
    expected = explain_layers(small_chain(), *data(), segments=3)["conv1"].heatmap[0, 0, 0]
    assert float(value) == pytest.approx(float(expected), rel=1e-9)
