import csv

import numpy as np
import pytest
import torch

from layershap.explain import explain_layers
from layershap.model.classifier import numbered
from layershap.reporting.explained.arrays import KINDS, layer_arrays, write_arrays
from layershap.reporting.explained.stored import StoredMaps
from nets import data, token_chain


@pytest.fixture(scope="module")
def explained():
    """Three images of a network of tokens; the first layers have no prefix."""
    model = token_chain()
    images, references = data(count=3, dtype=torch.float32, shape=(3, 8, 8))
    return [numbered(explain_layers(model, image[None], references)) for image in images]


@pytest.fixture
def stored(explained, tmp_path):
    write_arrays(tmp_path / "arrays", 3, map(layer_arrays, explained))
    with (tmp_path / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "chosen"], ["1e-5", "image"], ["b-2", "image"], ["c-3", "mistake"]])
    return StoredMaps(tmp_path)


def test_what_is_read_is_the_explanation(explained, stored):
    assert stored.names == ["1e-5", "b-2", "c-3"]
    compared = 0
    for place, found in enumerate(explained):
        for (number, name), layer in found.items():
            for kind in KINDS:
                if (values := getattr(layer, kind)) is not None:
                    np.testing.assert_array_equal(stored.maps(number, kind=kind)[place], values[0].numpy())
                    np.testing.assert_array_equal(stored.maps(name, kind=kind)[place], values[0].numpy())
                    compared += 1
    assert compared == 3 * len(list(stored.folder.iterdir())) >= 3 * 4 * 4


def test_some_images_are_read_by_name_or_slice(stored):
    every = np.asarray(stored.maps("second"))
    assert every.shape[0] == 3 and every.dtype == np.float32
    np.testing.assert_array_equal(stored.maps("second", ["c-3", "1e-5"]), every[[2, 0]])
    np.testing.assert_array_equal(stored.maps("second", slice(1, None)), every[1:])
    assert isinstance(stored.maps("second", slice(1, None)), np.memmap)
    assert stored.maps("second", kind="prefix").shape == (3,)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("none",), "heatmap of layer none is not there"),
        ((99,), "layer 99"),
        (("second", ["b-2", "x"]), "explained images: x"),
        (("second", slice(None), "colour"), "colour of layer second"),
        (("patches", slice(None), "prefix"), "prefix of layer patches"),
    ],
)
def test_what_is_not_there_is_named(stored, asked, said):
    with pytest.raises(KeyError, match=said):
        stored.maps(*asked)


def test_names_of_layers_that_look_alike_need_the_number(tmp_path):
    values = np.zeros((2, 2), dtype=np.float32)
    arrays = {f"{number:02d}_a-b_heatmap.npy": values for number in (2, 3)}
    write_arrays(tmp_path / "arrays", 1, [arrays])
    (tmp_path / "images.csv").write_text("name\nx\n")
    stored = StoredMaps(tmp_path)
    with pytest.raises(KeyError, match="several times; give its number"):
        stored.maps("a:b")
    assert stored.maps(3).shape == (1, 2, 2)


def test_an_image_with_other_arrays_than_the_first_is_an_error(explained, tmp_path):
    first = layer_arrays(explained[0])
    less = dict(list(first.items())[1:])
    with pytest.raises(ValueError, match="image 1 has other arrays than the first"):
        write_arrays(tmp_path / "arrays", 2, [first, less])
