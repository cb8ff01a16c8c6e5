"""The colour scale of a heatmap."""

import numpy as np
import pytest

from layershap.plots.sheets import signed_limit


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.linspace(-1, 1, 2001), 0.995),
        (np.zeros((4, 4)), 1.0),
        (np.eye(100)[:1] * np.eye(100) * -3.0, 3.0),  # a single place, less than the half percent left out
        (np.full((2, 2), -1e-30), 1e-30),
    ],
)
def test_the_limit_of_a_colour_scale(values, limit):
    assert signed_limit(values) == pytest.approx(limit, rel=1e-2)
