"""The compiled kernels against the plain torch versions of the same rules."""

import pytest
import torch
from torch import nn

from layershap.explain import explain_layers, layers, rules
from nets import data, small_chain


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
    monkeypatch.setattr(layers, "fused", None)
    plain = explain_layers(model, images, references, path=path, segments=3)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    for name in model.names:
        torch.testing.assert_close(compiled[name].heatmap, plain[name].heatmap, **tolerance)
        torch.testing.assert_close(compiled[name].standard_error, plain[name].standard_error, **tolerance)
