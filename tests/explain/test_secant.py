"""Each rule against a slow version in float64 that looks at every number by itself."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layershap.explain.secant import ELEMENTWISE, SecantMode, Trace, UnsupportedOperationError
from secants import assert_exact, following, multipliers, rows

POSITIVE = {"sqrt", "rsqrt", "log", "log1p", "reciprocal"}
OPTIONS = {"clamp": {"min": -0.3, "max": 0.8}}


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_elementwise_rule_is_the_slope_between_neighbours(name):
    function = ELEMENTWISE[name][0]
    options = OPTIONS.get(name, {})
    tensor = rows(6)
    if name in POSITIVE:
        tensor = tensor.abs() + 0.1
    _, given, found = multipliers(lambda value: function(value, **options), tensor)
    for row, after in enumerate(following(len(given)).tolist()):
        for column in range(6):
            a, b = tensor[row, column], tensor[after, column]
            slope = (function(b, **options) - function(a, **options)) / (b - a)
            assert float(found[row, column]) == pytest.approx(float(given[row, column] * slope), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-7])
def test_a_tiny_step_gives_the_derivative(name, step):
    function = ELEMENTWISE[name][0]
    options = OPTIONS.get(name, {})
    start = torch.tensor([0.7, 1.9, 0.35], dtype=torch.float64)
    tensor = torch.stack([start, start + step])
    leaf = start.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(leaf, **options).sum(), leaf)
    _, given, found = multipliers(lambda value: function(value, **options), tensor, points=2)
    torch.testing.assert_close(found[0] / given[0], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_max_pool_rule_written_slowly(kernel, stride, padding, memory_format):
    tensor = rows(2, 7, 7).contiguous(memory_format=memory_format)
    output, given, found = multipliers(lambda value: F.max_pool2d(value, kernel, stride, padding), tensor)
    expected = torch.zeros_like(found)
    after = following(len(given)).tolist()
    for row, channel in itertools.product(range(len(given)), range(2)):
        a, b = tensor[row, channel], tensor[after[row], channel]
        for i, j in itertools.product(range(output.shape[2]), range(output.shape[3])):
            window = [
                (h, w)
                for h in range(i * stride - padding, i * stride - padding + kernel)
                for w in range(j * stride - padding, j * stride - padding + kernel)
                if 0 <= h < 7 and 0 <= w < 7
            ]
            at_a, at_b = max(window, key=lambda place: a[place]), max(window, key=lambda place: b[place])
            top = max(a[at_a], b[at_b])
            m = given[row, channel, i, j]
            expected[(row, channel, *at_b)] += m * (top - a[at_a]) / (b[at_b] - a[at_b])
            expected[(row, channel, *at_a)] += m * (b[at_b] - top) / (b[at_a] - a[at_a])
    torch.testing.assert_close(found, expected)


def test_max_pool_of_equal_points_passes_the_gradient_on():
    tensor = rows(1, 4, 4, paths=1)
    tensor[1] = tensor[0]
    _, given, found = multipliers(lambda value: F.max_pool2d(value, 2), tensor)
    assert float(found[0].sum()) == pytest.approx(float(given[0].sum()))


def test_product_of_two_branches():
    tensor = rows(3)
    _, given, found = multipliers(lambda value: value * (2 * value + 1), tensor)
    row, nxt = tensor[0], tensor[1]
    expected = given[0] * ((2 * row + 1 + 2 * nxt + 1) / 2 + 2 * (row + nxt) / 2)
    torch.testing.assert_close(found[0], expected)


FUNCTIONS = {
    "gate": lambda x: x * torch.sigmoid(F.adaptive_avg_pool2d(x, 1)),
    "quotient": lambda x: x / (x.pow(2).mean((1, 2, 3), keepdim=True) + 1).sqrt(),
    "constant over x": lambda x: 1.0 / (F.softplus(x) + 0.5),
    "square": lambda x: torch.square(x) + x**2,
    "cat": lambda x: torch.cat([F.relu(x), -x, x[:, :1]], 1),
    "dense": lambda x: F.avg_pool2d(torch.cat([x, F.gelu(x)], 1), 2),
    "scale": lambda x: 3 * x - x / 2 + 1 - 0.5 * x,
    "overlap": lambda x: F.max_pool2d(F.silu(x), 3, 2, 1),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 3),
    "pad": lambda x: F.hardswish(F.pad(x, (1, 0, 1, 0))),
    "reshape": lambda x: F.relu(x.permute(0, 2, 3, 1).reshape(len(x), -1)).view(len(x), 3, -1).mean(2),
    "in place": lambda x: F.relu(x.clone().add_(1).mul_(2), inplace=True),
    "in place, operand used later": lambda x: (lambda y: (F.relu(y, inplace=True), y + 1)[1])(x * 1),
    "operators in place": lambda x: (lambda y: y.__iadd__(x).__imul__(0.5).relu_())(x + 0),
    "interpolate": lambda x: F.interpolate(F.elu(x), scale_factor=2, mode="nearest"),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "layer norm of the last axis": lambda x: F.layer_norm(
        x.permute(0, 2, 3, 1), (3,), torch.arange(3.0, dtype=x.dtype), torch.ones(3, dtype=x.dtype), 1e-3
    ).permute(0, 3, 1, 2),
    "abs": lambda x: x.abs() + F.leaky_relu(x, 0.2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compositions_are_exact_and_leave_the_value(name):
    tensor = rows(3, 6, 6)
    assert_exact(FUNCTIONS[name], tensor, tolerance=1e-10)
    output, _, _ = multipliers(FUNCTIONS[name], tensor)
    torch.testing.assert_close(output, FUNCTIONS[name](tensor.clone()))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.digamma, "digamma"),
        (lambda x: torch.sort(x)[0], "sort"),
        (lambda x: torch.pow(2, x), "pow"),
        (lambda x: x + x.max(1, keepdim=True)[1], "max"),
        (lambda x: torch.where(x > 0, x, 0), "gt"),
        (lambda x: F.normalize(x, p=3), "norm"),
        (lambda x: F.dropout(x, 0.5, training=True), "dropout"),
        (lambda x: F.batch_norm(x, None, None, training=True), "batch_norm"),
        (lambda x: F.conv2d(x, x[:, :1].reshape(-1, 1, 6, 6)[:3]), "conv2d"),
        (lambda x: x.detach(), "detach"),
        (lambda x: x.data, "data"),
    ],
)
def test_an_operation_without_a_rule_is_named(function, name):
    with pytest.raises(UnsupportedOperationError, match=name):
        multipliers(function, rows(3, 6, 6))


def test_other_tensors_are_left_alone():
    other = torch.linspace(0, 1, 5)
    with SecantMode(Trace()):
        assert torch.equal(torch.sin(other), other.sin())
        assert math.isclose(float(other.max()), 1.0)


def test_batch_norm_in_eval_is_linear():
    norm = nn.BatchNorm2d(3).double().eval()
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    assert_exact(norm, rows(3, 4, 4))
