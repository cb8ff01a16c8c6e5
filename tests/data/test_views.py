"""Views of an image: the flips, and those that an augmentation draws from seed, image and view alone."""

import numpy as np
import pytest
import torch

from conftest import draw_image
from layershap.data.features import (
    VIEWS,
    FeatureCache,
    extract_features,
    names_of_views,
    probabilities_in_views,
    read_pixels,
    seen,
    to_batch,
)
from layershap.hardware.processes import Processes

SIZE = 40
RANDOM = ["standard", "strong"]


@pytest.fixture
def pixels(rng):
    return np.asarray(draw_image(rng, 3, SIZE))


@pytest.mark.parametrize(
    ("policy", "count", "names"),
    [
        ("none", 1, ["original"]),
        ("flips", 2, ["original", "flip_horizontal"]),
        ("flips", 4, ["original", "flip_horizontal", "flip_vertical", "rotate_180"]),
        ("standard", 3, ["original", "standard_1", "standard_2"]),
        ("strong", 2, ["original", "strong_1"]),
    ],
)
def test_names(policy, count, names):
    assert names_of_views(policy, count) == names


@pytest.mark.parametrize(("policy", "count"), [("none", 2), ("flips", 5)])
def test_more_views_than_there_are(policy, count):
    with pytest.raises(ValueError, match=f"policy {policy} has {count - 1} views, not {count}"):
        names_of_views(policy, count)


@pytest.mark.parametrize("view", VIEWS)
def test_flips_of_pictures_are_those_of_tensors(pixels, view):
    assert torch.equal(to_batch(seen(pixels, view, (0, 0, 0))[None]), VIEWS[view](to_batch(pixels[None])))


@pytest.mark.parametrize("policy", RANDOM)
def test_a_random_view_is_drawn_by_seed_image_and_view_alone(pixels, policy):
    drawn = [seen(pixels, f"{policy}_1", by) for by in [(0, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 2)]]
    assert all(view.shape == pixels.shape and view.dtype == np.uint8 for view in drawn)
    assert len({view.tobytes() for view in [pixels, *drawn]}) == 5
    torch.manual_seed(99)
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = seen(pixels, f"{policy}_1", (0, 5, 1))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(again, drawn[0])
    assert torch.equal(torch.get_rng_state(), before)  # dropout is drawn from it


def test_a_standard_view_keeps_what_is_seen(rng):
    """A bright half stays the brighter one, left or right: nothing stands on its head unless that is asked for."""
    ramp = np.zeros((SIZE, SIZE, 3), np.uint8)
    ramp[: SIZE // 2] = 200
    upright = [seen(ramp, "standard_1", (0, number, 1)) for number in range(40)]
    assert all(view[: SIZE // 2].mean() > view[SIZE // 2 :].mean() for view in upright)
    either = [seen(ramp, "standard_1", (0, number, 1), vertical=True) for number in range(40)]
    turned = sum(view[: SIZE // 2].mean() < view[SIZE // 2 :].mean() for view in either)
    assert 10 < turned < 30


def test_a_rotation_brings_no_black_into_the_corners():
    grey = np.full((SIZE, SIZE, 3), 120, np.uint8)
    assert min(seen(grey, "standard_1", (0, number, 1)).min() for number in range(40)) > 60


@pytest.mark.parametrize("policy", RANDOM)
@pytest.mark.parametrize(("workers", "batch_size"), [(2, 1), (0, 3), (1, 4)])
def test_features_of_random_views_are_the_same_whoever_reads(tmp_path, rng, policy, workers, batch_size):
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        draw_image(rng, number % 4, 48).save(path)
    views = names_of_views(policy, 3)

    def frozen(images):
        return images[:, :, ::4, ::4]  # no arithmetic: what batch it is in does not matter

    extract_features(frozen, paths, views, SIZE, batch_size, tmp_path / "cache", Processes(), workers, seed=7)
    cache = FeatureCache(tmp_path / "cache")
    for image, path in enumerate(paths):
        for number, view in enumerate(views):
            expected = to_batch(seen(read_pixels(path, SIZE), view, (7, image, number))[None])[:, :, ::4, ::4]
            found = cache.rows(np.array([image]), np.array([number]))
            assert torch.equal(found, expected.half().float())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_probabilities_of_each_view(rng, count):
    images = torch.from_numpy(rng.random((3, 3, 8, 8), dtype=np.float32))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    found = probabilities_in_views(network, images, count)
    turned = [images, images.flip(3), images.flip(2), images.flip(2, 3)][:count]
    torch.testing.assert_close(found, torch.stack([network(view).softmax(1) for view in turned]))
