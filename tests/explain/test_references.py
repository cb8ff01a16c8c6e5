from collections import Counter

import pytest
import torch

from layershap.explain import blurred_reference, choose_references, mean_reference

LABELS = [0] * 30 + [1] * 10


@pytest.mark.parametrize("count", [2, 10, 20])
def test_half_of_each_class_without_repeats(count):
    chosen = choose_references(LABELS, count, seed=0)
    assert len(set(chosen)) == count
    assert Counter(LABELS[index] for index in chosen) == {0: count // 2, 1: count // 2}


def test_the_larger_class_fills_up():
    assert Counter(LABELS[index] for index in choose_references(LABELS, 30, 0)) == {0: 20, 1: 10}


def test_the_seed_decides_and_a_beginning_is_kept():
    assert choose_references(LABELS, 8, 1) == choose_references(LABELS, 8, 1)
    assert choose_references(LABELS, 8, 1) != choose_references(LABELS, 8, 2)
    assert choose_references(LABELS, 8, 1) == choose_references(LABELS, 12, 1)[:8]


@pytest.mark.parametrize("count", [0, 41])
def test_impossible_counts_are_named(count):
    with pytest.raises(ValueError, match=str(count)):
        choose_references(LABELS, count, 0)


def test_the_mean_is_that_of_all_images_in_whatever_batches():
    images = torch.rand(5, 3, 4, 6)
    torch.testing.assert_close(mean_reference(images.split(2)), images.mean(0, keepdim=True))
    with pytest.raises(ValueError, match="at least one"):
        mean_reference([])


def test_a_blurred_image_keeps_its_colour_and_loses_its_outlines():
    image = torch.zeros(1, 3, 36, 48)
    image[:, 0, :, ::2] = 1  # stripes
    blurred = blurred_reference(image)
    assert blurred.shape == image.shape
    torch.testing.assert_close(blurred.mean((2, 3)), image.mean((2, 3)), atol=0.02, rtol=0)
    assert float(blurred[:, 0].std()) < 0.02 < float(image[:, 0].std())


def test_blur_is_a_gaussian_of_a_twelfth_of_the_height():
    image = torch.zeros(1, 3, 121, 121, dtype=torch.float64)
    image[..., 60, 60] = 1
    column = blurred_reference(image)[0, 0].sum(1)
    place = torch.arange(121, dtype=torch.float64) - 60
    spread = float((column * place**2).sum() / column.sum()) ** 0.5
    assert spread == pytest.approx(121 / 12, rel=0.02)  # 3 sigma on both sides cut 1 % of the variance off
