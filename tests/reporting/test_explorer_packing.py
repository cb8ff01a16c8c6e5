"""Maps as the layer explorer has them, against those that were packed."""

import numpy as np
import pytest

from layershap.plots.panel import Panel
from layershap.plots.sheets import PALE, strength
from layershap.reporting.explorer.packing import (
    ERROR_OFF,
    TINY_OFF,
    VALUE_OFF,
    pack_errors,
    pack_values,
    unpack_errors,
    unpack_values,
)


def made(rng, size=64, scale=1.0):
    """Values with heavy tails, and errors of all sizes beside them."""
    values = (scale * rng.standard_t(2, (size, size))).astype(np.float32)
    errors = (scale * np.abs(rng.standard_t(2, (size, size)))).astype(np.float32)
    return values, errors


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e4, 1e30])
def test_values_are_off_by_no_more_than_is_said(rng, scale):
    values, _ = made(rng, scale=scale)
    found = unpack_values(pack_values(values), values.shape)
    off = np.abs(found - values)
    sizes = np.abs(values.astype(np.float64))
    assert (off <= np.maximum(VALUE_OFF * sizes, TINY_OFF * sizes.max()) * (1 + 1e-9)).all()
    assert (off[sizes > 0] / sizes[sizes > 0]).max() > VALUE_OFF / 2  # no smaller number would be true


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e4])
def test_errors_are_off_by_no_more_than_is_said(rng, scale):
    values, errors = made(rng, scale=scale)
    found = unpack_errors(pack_errors(errors, values), errors.shape)
    large = errors > errors.max() / 60_000
    assert large.mean() > 0.95
    assert (np.abs(found - errors)[large] <= ERROR_OFF * errors[large] * (1 + 1e-6)).all()
    nearest = np.abs(found - errors) <= 0.022 * errors
    assert nearest[large].mean() > 0.95
    assert (found[~large] <= errors.max() / 50_000).all()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_pale_is_pale_in_the_pictures(seed):
    rng = np.random.default_rng(seed)
    values, errors = made(rng, 224)
    errors[:112] = np.abs(values[:112]) / 2 * rng.uniform(0.98, 1.02, (112, 224))  # at the edge
    alpha = strength(Panel("", values, errors))
    shown = np.abs(unpack_values(pack_values(values), values.shape))
    found = shown < 2 * unpack_errors(pack_errors(errors, values), errors.shape)
    coloured = np.abs(values) > 6.2e-5 * np.abs(values).max()
    assert coloured.mean() > 0.9
    np.testing.assert_array_equal(found[coloured], (alpha == PALE)[coloured])


def test_a_map_of_zeros_stays_one():
    zeros = np.zeros((3, 2), np.float32)
    assert not unpack_values(pack_values(zeros), (3, 2)).any()
    assert not unpack_errors(pack_errors(zeros, zeros), (3, 2)).any()


def test_a_value_takes_three_bytes(rng):
    values, errors = made(rng, 60)
    letters = len(pack_values(values)["values"]) + len(pack_errors(errors, values)["errors"])
    assert letters == 3 * values.size * 4 // 3
