import numpy as np
import pytest
import torch

from layershap.study.edges import checkerboard, correlation, edges, partial_correlations, rank, to_grid, without


def test_edges_lie_where_the_image_changes():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    found = edges(image)[0]
    assert torch.equal(found[:, 3:5] > 0, torch.ones(8, 2, dtype=bool))
    assert float(found[:, [0, 1, 2, 5, 6, 7]].abs().max()) == 0
    # Sobel's weights across a step of height 1 in grey: 1 + 2 + 1
    torch.testing.assert_close(found[:, 3], torch.full((8,), 4.0))
    torch.testing.assert_close(edges(image.flip(-1))[0], found.flip(-1))


def test_a_grid_holds_means():
    maps = torch.arange(16.0).view(1, 4, 4)
    np.testing.assert_allclose(to_grid(maps, (2, 2)), [[2.5, 4.5, 10.5, 12.5]])


def test_partial_correlation_against_the_textbook_formula():
    generator = np.random.default_rng(0)
    control = generator.normal(size=50)
    heatmap = generator.normal(size=50) + control
    candidate = generator.normal(size=50) + 0.5 * control + 0.3 * heatmap
    ab, ac, bc = (
        np.corrcoef(one, other)[0, 1] for one, other in ((heatmap, candidate), (heatmap, control), (candidate, control))
    )
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    assert partial_correlations(heatmap, candidate[None], control[None])[0] == pytest.approx(expected)


def test_a_candidate_that_is_the_control_has_nothing_left():
    generator = np.random.default_rng(0)
    heatmap, control = generator.normal(size=(2, 50))
    found = partial_correlations(heatmap, np.stack([control, 3 * control + 2, heatmap]), control[None])
    np.testing.assert_allclose(found, [0, 0, 1])


def test_controls_that_are_constant_or_alike_count_once():
    generator = np.random.default_rng(0)
    values, control = generator.normal(size=(2, 50))
    once = without(values, control[None])
    np.testing.assert_allclose(without(values, np.stack([control, 2 * control, np.ones(50)])), once)
    assert abs(once.mean()) < 1e-12


def test_rank():
    assert rank(np.array([0.1, 0.9, 0.5]), 1) == (1.0, 1.0)
    assert rank(np.array([0.1, 0.9, 0.5]), 2) == (0.0, 0.5)
    assert rank(np.array([0.1, 0.9, 0.5]), 0) == (0.0, 0.0)
    assert rank(np.zeros(4), 2) == (0.25, 0.5)


def test_a_constant_map_has_no_correlation():
    assert np.isnan(correlation(np.ones((2, 2)), np.arange(4.0)))
    assert correlation(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


def test_checkerboard():
    np.testing.assert_array_equal(checkerboard(4, 2)[0], [1, 1, -1, -1])
    assert float(checkerboard(8, 4).sum()) == 0
    assert len(torch.unique_consecutive(checkerboard(100, 7)[0])) == 7
