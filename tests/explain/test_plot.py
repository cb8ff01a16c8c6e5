"""`result.plot(image)`: the contact sheet of one image, for who has the library alone."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Mapping

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from layershap.explain import Explanations, explain_each, explain_layers
from layershap.explain.shap_engine import explain_layers_with_shap
from nets import data, small_chain
from pictures import check_legible, drawn

SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def found():
    return explain_layers(small_chain(), *data())


@pytest.fixture
def image():
    return np.random.default_rng(0).random(SIZE)


def heatmaps(figure) -> list[np.ndarray]:
    """Return what stands in the pictures of a contact sheet, the input first."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def test_what_comes_out_is_a_mapping_of_the_layers_in_order(found):
    assert isinstance(found, Explanations) and isinstance(found, Mapping)
    assert list(found) == ["conv1", "pool", "conv2"] and len(found) == 3
    assert found["pool"] is dict(found.items())["pool"] is found.get("pool")
    (first, *_) = explain_each(small_chain(), *data(), output="probability")
    assert isinstance(first, Explanations) and first.output == "probability"
    assert isinstance(explain_layers_with_shap(small_chain(dtype=torch.float32), *data(dtype=torch.float32)), Mapping)
    for twin in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert list(twin) == list(found) and twin.output == found.output == "margin"
        assert torch.equal(twin["pool"].heatmap, found["pool"].heatmap)


@pytest.mark.parametrize("index", [0, 2])
def test_the_picture_shows_the_image_and_every_layers_heatmap_of_this_image(found, image, index):
    figure = found.plot(image, index=index)
    shown, *maps = heatmaps(figure)[:4]
    np.testing.assert_array_equal(shown, image.transpose(1, 2, 0))
    for values, (name, layer), axis in zip(maps, found.items(), figure.axes[1:], strict=False):
        np.testing.assert_allclose(values / abs(values).max(), layer.heatmap[index] / layer.heatmap[index].abs().max())
        assert axis.get_title().startswith(f"{name}\n")
    total, expected = float(found["pool"].total[index]), float(found["pool"].expected[index])
    heading = figure.get_suptitle()
    assert f"{total + expected:.3f} = {expected:.3f} (mean of the references) {total:+.3f}" in heading.replace(
        "\n", " "
    )
    check_legible(figure)


def test_an_image_may_come_in_every_usual_form(found, image):
    bytes_ = (image * 255).astype(np.uint8)
    pixels = image.transpose(1, 2, 0)
    for given in (image, pixels, torch.tensor(image), torch.tensor(pixels), torch.tensor(image).requires_grad_()):
        np.testing.assert_array_equal(heatmaps(found.plot(given))[0], pixels)
    np.testing.assert_array_equal(heatmaps(found.plot(torch.tensor(bytes_)))[0], bytes_.transpose(1, 2, 0) / 255)
    np.testing.assert_array_equal(heatmaps(found.plot(Image.fromarray(bytes_.transpose(1, 2, 0))))[0] * 255 // 1,
                                  bytes_.transpose(1, 2, 0))  # fmt: skip
    batch = np.stack([image * 0, image * 0, image])
    np.testing.assert_array_equal(heatmaps(found.plot(batch, index=2))[0], pixels)
    grey = heatmaps(found.plot(image[:1]))[0]
    np.testing.assert_array_equal(grey, np.repeat(pixels[:, :, :1], 3, 2))


def test_a_normalised_image_is_scaled_by_its_own_range(found, image):
    shown = heatmaps(found.plot(torch.tensor(image) * 4 - 2))[0]
    np.testing.assert_allclose(shown, (image.transpose(1, 2, 0) - image.min()) / np.ptp(image))
    assert np.isfinite(heatmaps(found.plot(np.full(SIZE, -3.0)))[0]).all()


def test_titles_and_unit_are_those_that_are_given(found, image):
    texts = [text for text, _ in drawn(found.plot(image, titles=["a", "b", "$c$ and $d$"], unit="log odds of cat"))]
    assert any(text.startswith("log odds of cat: ") for text in texts)
    assert any(text.startswith("$c$ and $d$\n") for text in texts)
    assert any(text.startswith("margin of the explained class: ") for text, _ in drawn(found.plot(image)))


def test_pale_is_a_choice_and_needs_an_error(found, image):
    def words(figure):
        return [text for text, _ in drawn(figure) if "pale" in text]

    assert words(found.plot(image)) and not words(found.plot(image, pale=False))
    images, references = data()
    assert not words(explain_layers(small_chain(), images, references[:1]).plot(image))


def test_what_does_not_fit_is_refused(found, image):
    with pytest.raises(ValueError, match=r"image must be .*not \[2, 8, 8\]"):
        found.plot(image[:2])
    with pytest.raises(ValueError, match="2 titles for 3 layers"):
        found.plot(image, titles=["a", "b"])
    with pytest.raises(IndexError):
        found.plot(image, index=3)


def test_a_notebook_shows_it_and_the_users_matplotlib_stays_as_it_was(found, image, tmp_path):
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "pdf", "font.size": 20}):
        before = dict(matplotlib.rcParams)
        figure = found.plot(image)
        assert dict(matplotlib.rcParams) == before
        assert pyplot.get_fignums() == []
        assert figure._repr_png_().startswith(b"\x89PNG")
        figure.savefig(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == tuple(int(side) for side in figure.bbox.extents[2:])


def test_without_matplotlib_it_is_said_how_to_get_it():
    code = """
import sys
sys.modules["matplotlib"] = None
from nets import data, small_chain
from layershap.explain import explain_layers
found = explain_layers(small_chain(), *data())
try:
    found.plot(data()[0])
except ImportError as error:
    print(error)
"""
    folder = __file__.rpartition("/")[0] + "/.."
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "pictures need matplotlib: pip install 'layershap[plots]'", done.stderr
