"""Shares of a heatmap inside a mask, by hand."""

import numpy as np
import pytest
import torch

from layershap.explain.result import LayerExplanation
from layershap.reporting.explained.inside import inside_numbers
from layershap.reporting.explained.places import mean_place, speaks_for
from layershap.workspace import paths

MASK = np.zeros((40, 40), bool)
MASK[:20, :30] = True  # of a map of 2 x 2: the upper left place, and half of the upper right one


def explained(values):
    heatmap, zero = torch.tensor([values]), torch.zeros(1)
    return {(2, "stem"): LayerExplanation(heatmap, heatmap, None, None, heatmap.sum((1, 2)), zero, zero, None, 1)}


def test_shares_by_hand():
    (row,) = inside_numbers(explained([[3.0, 2.0], [-4.0, 1.0]]), MASK, 1)
    assert row["inside_positive"] == pytest.approx((3 + 0.5 * 2) / 6)
    assert row["inside_size"] == pytest.approx((3 + 0.5 * 2) / 10)
    assert (row["inside_peak"], row["inside_most"], row["mask_area"]) == (1, 1, pytest.approx(0.375))
    (row,) = inside_numbers(explained([[3.0, 2.0], [-4.0, 1.0]]), MASK, -1)  # the other class was decided
    assert (row["inside_positive"], row["inside_peak"]) == (0, 0)


def test_where_nothing_speaks_for_the_decision_no_share_is_known():
    (row,) = inside_numbers(explained([[-3.0, 0.0], [-4.0, -1.0]]), MASK, 1)
    assert np.isnan([row["inside_positive"], row["inside_size"], row["inside_peak"]]).all()
    assert row["mask_area"] == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("predicted", "classes", "sign"),
    [("cat", ["cat", "dog"], -1), ("dog", ["cat", "dog"], 1), ("cat", ["cat", "cow", "dog"], 1)],
)
def test_of_two_classes_the_second_is_explained(predicted, classes, sign):
    assert speaks_for(predicted, classes) == sign


class Stored:
    """Maps by name of the image."""

    def __init__(self, maps):
        self.found = {name: np.array(values, np.float32) for name, values in maps.items()}

    def maps(self, layer, names):
        return np.stack([self.found[name] for name in names])


def test_the_mean_place_counts_each_image_alike():
    stored = Stored({"a": [[100.0, -100.0]], "b": [[1.0, -3.0]], "c": [[0.0, -2.0]]})
    rows = [{"name": "a", "predicted": "dog"}, {"name": "b", "predicted": "cat"}, {"name": "c", "predicted": "dog"}]
    np.testing.assert_allclose(mean_place(stored, rows, 2, ["cat", "dog"]), [[0.5, 0.5]])
    np.testing.assert_allclose(mean_place(stored, rows[2:], 2, ["cat", "dog"]), [[0.0, 0.0]])


def test_images_without_masks_are_named_before_any_is_explained(tmp_path, capsys):
    from layershap.data.masks import Masks
    from layershap.stages.explain import check_masks
    from layershap.workspace.errors import InputError

    (tmp_path / paths.MASKS_TABLE.name).write_text("path,area,digest\na.png,0.2,x\nb.png,1.0,x\n")
    check_masks(Masks(tmp_path), ["a.png", "b.png", "c.png"])
    assert "1 of 3 explained images have a mask" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"data.masks: 2 images have a mask, and none of the 2 .* c.png the first"):
        check_masks(Masks(tmp_path), ["c.png", "b.png"])
