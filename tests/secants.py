"""Multipliers of the secant rule for a function of a batch of points, and what must hold of them."""

import pytest
import torch

from layershap.explain.secant import SecantMode, Trace

POINTS = 4


def following(count, points=POINTS):
    """Return the point after each row: lines of `points` points each, the last of which is the end of all."""
    rows = torch.arange(count)
    return torch.where(rows % (points - 1) == points - 2, count, rows + 1)


def multipliers(function, tensor, points=POINTS, seed=0):
    """Return the output at all rows but the last, the gradient given to it, and the multipliers that come back.

    `tensor`: the points of several lines, and, as its last row, the end of them all.
    """
    trace = Trace()
    with SecantMode(trace) as mode:
        end = mode.current(function(tensor[-1:].clone().requires_grad_()))
    leaf = tensor[:-1].clone().requires_grad_()
    with SecantMode(trace, following(len(leaf), points)) as mode:
        if trace.moves:  # each row by itself
            output, end = torch.vmap(lambda row: mode.current(function(row[None])))(leaf), end[None]
        else:
            output = mode.current(function(leaf))
    given = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=output.dtype)
    (found,) = torch.autograd.grad(output, leaf, given)
    return torch.cat([output, end]).detach(), given, found


def assert_exact(function, tensor, points=POINTS, tolerance=1e-12):
    """m_input . step of the input equals m_output . step of the output, on every segment."""
    output, given, found = multipliers(function, tensor, points)
    for row, after in enumerate(following(len(tensor) - 1, points).tolist()):
        left = float((found[row] * (tensor[after] - tensor[row])).sum())
        right = float((given[row] * (output[after] - output[row])).sum())
        assert left == pytest.approx(right, abs=tolerance * max(1, float(given[row].abs().sum())))


def rows(*shape, paths=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(paths * (POINTS - 1) + 1, *shape, generator=generator, dtype=torch.float64) * 2
