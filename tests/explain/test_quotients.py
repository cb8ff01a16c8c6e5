"""The rule of a quotient whose two parts depend on the path."""

import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.explain.quotients import Quotient
from secants import assert_exact, multipliers, rows


def quotient(tensor):
    return tensor[:, :2] / tensor[:, 2:3]


@pytest.mark.parametrize("lowest", [0.5, -0.5, 1e-9])
def test_sums_are_exact(lowest):
    """Both signs, and all but 0."""
    tensor = rows(3, 4)
    tensor[:, 2] = (tensor[:, 2].abs() + abs(lowest)) * (1 if lowest > 0 else -1)
    assert_exact(quotient, tensor)


def test_a_change_of_sign_is_exact():
    tensor = rows(3, 4)
    tensor[:, 2] = tensor[:, 2].sign() * (tensor[:, 2].abs() + 0.1)
    assert len(set(tensor[:, 2].sign().flatten().tolist())) == 2
    assert_exact(quotient, tensor, tolerance=1e-11)


def test_equal_ends_give_the_derivative():
    upper, lower = torch.tensor([[3.0]]), torch.tensor([[4.0]])
    upper.requires_grad_(), lower.requires_grad_()
    end = torch.tensor([1])
    result = Quotient.apply(upper, lower, upper.detach(), lower.detach(), end)
    to_upper, to_lower = torch.autograd.grad(result, (upper, lower), torch.ones(1, 1))
    assert float(to_upper) == pytest.approx(1 / 4)
    assert float(to_lower) == pytest.approx(-3 / 16)


def test_the_formula_written_slowly():
    pairs = torch.tensor([[3.0, 2.0], [-1.0, 5.0]], dtype=torch.float64)  # u, v: start and end
    (u, v), (u_end, v_end) = pairs.tolist()
    mean_v, mean_y = (v + v_end) / 2, (u / v + u_end / v_end) / 2
    upper, lower = (pairs[:1, place : place + 1].clone().requires_grad_() for place in (0, 1))
    result = Quotient.apply(upper, lower, pairs[1:, :1], pairs[1:, 1:], torch.tensor([1]))
    found = torch.autograd.grad(result, (upper, lower), torch.ones_like(result))
    assert [float(value) for value in found] == pytest.approx([1 / mean_v, -mean_y / mean_v])
    assert (u_end - u) / mean_v - (v_end - v) * mean_y / mean_v == pytest.approx(u_end / v_end - u / v)


class LinearAttention(nn.Module):
    """Attention without softmax: relu(q) (relu(k) v) / relu(q) sum relu(k); some sums are 0 but for a tiny number."""

    def forward(self, maps):
        tokens = maps.flatten(2)
        query, key = (tokens - 0.5).relu(), (tokens.roll(1, 1) - 0.5).relu()
        upper = (tokens @ key.mT) @ query
        return (upper / (key.sum(2)[:, None] @ query + 1e-6)).view(maps.shape)


def test_sums_hold_in_float32_where_a_divisor_is_all_but_0():
    torch.manual_seed(0)
    layers = [("conv", nn.Conv2d(3, 4, 3, padding=1)), ("attention", LinearAttention())]
    model = Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 2))).eval()
    generator = torch.Generator().manual_seed(1)
    images, references = (torch.randn(count, 3, 8, 8, generator=generator) * 2 for count in (1, 4))
    images[..., :2] = -3.0  # no query there
    with torch.no_grad():
        sums = model.layers[0](torch.cat([images, references])) - 0.5
        assert bool((sums.relu().sum(1) == 0).any())
    found = explain_layers(model, images, references, path="image", segments=2)
    for layer in found.values():
        assert float((layer.gap / layer.heatmap.abs().sum()).abs().max()) < 1e-5


def test_multipliers_stay_bounded_where_a_divisor_is_all_but_0():
    tensor = torch.tensor([[0.0, 1e-12], [1.0, 1.0]], dtype=torch.float64)
    _, _, found = multipliers(lambda value: value[:, :1] / value[:, 1:], tensor, points=2)
    assert 0 < float(found.abs().max()) < 10
