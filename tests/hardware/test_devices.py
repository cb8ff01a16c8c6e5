"""Everything is on the images' device: the source makes no tensor without one, and a GPU agrees."""

import ast

import pytest
import torch

from conftest import REPOSITORY
from layershap.explain import explain_layers
from nets import data, small_chain

MAKERS = {"arange", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn", "randperm",
          "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros", "as_tensor"}  # fmt: skip
ROOMS = ("chain", "explain", "model")


def makers(path):
    """Yield line and text of every call in a file that makes a tensor and names no device."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        is_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
        if is_torch and node.func.attr in MAKERS and "device" not in {keyword.arg for keyword in node.keywords}:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("room", ROOMS)
def test_no_tensor_is_made_without_a_device(room):
    found = [
        f"{path.relative_to(REPOSITORY)}:{line} {text}"
        for path in sorted((REPOSITORY / "src" / "layershap" / room).rglob("*.py"))
        for line, text in makers(path)
    ]
    assert found == []


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("output", ["margin", "probability"])
def test_the_engine_makes_nothing_where_torch_would_by_default(path, output):
    """A tensor made without a device would have no values here, and the sums would fail."""
    model = small_chain(classes=3)
    images, references = data()
    wanted = explain_layers(model, images, references, path=path, output=output, more_references=references + 0.1)
    with torch.device("meta"):
        found = explain_layers(model, images, references, path=path, output=output, more_references=references + 0.1)
    for name, layer in wanted.items():
        assert torch.equal(found[name].heatmap, layer.heatmap)
