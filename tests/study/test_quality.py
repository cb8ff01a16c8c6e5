import numpy as np
import pandas as pd
import pytest
import torch

from layershap.explain import explain_layers
from layershap.study.quality import (
    DEPTHS,
    SHARES,
    agreeing_share,
    agreement,
    area,
    gini,
    quality,
    random_subsets,
    randomise,
)
from nets import data, small_chain


def test_gini_against_its_definition():
    values = torch.tensor([[1.0, -2.0], [5.0, 0.0]])
    sizes = values.abs().flatten().numpy()
    differences = np.abs(sizes[:, None] - sizes[None]).sum()
    assert gini(values) == pytest.approx(differences / (2 * len(sizes) * sizes.sum()))
    assert gini(torch.ones(4, 4)) == pytest.approx(0)
    assert gini(torch.eye(100)[:1]) == pytest.approx(0.99)
    assert np.isnan(gini(torch.zeros(2, 2)))


def test_agreeing_share():
    assert agreeing_share(torch.tensor([[3.0, -1.0]])) == 0.75
    assert agreeing_share(torch.tensor([[-3.0, 1.0]])) == 0.75
    assert agreeing_share(torch.tensor([[-3.0, -1.0]])) == 1
    assert np.isnan(agreeing_share(torch.zeros(1, 2)))


def test_a_map_agrees_with_its_coarse_self():
    fine = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    coarse = torch.nn.functional.avg_pool2d(fine[None], 2)[0]
    assert agreement(fine, coarse) == pytest.approx(1, abs=1e-6)
    assert agreement(fine, -coarse) == pytest.approx(-1, abs=1e-6)


def test_area():
    assert area(np.array([0.0, 1.0, 1.0]), [0.0, 0.5, 1.0]) == 0.75


def test_shuffled_weights_keep_their_values_and_the_lower_layers():
    model = small_chain()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy = randomise(model, 1 / 3, torch.Generator().manual_seed(0))
    for name, tensor in copy.state_dict().items():
        assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)
        if name.endswith("weight"):  # of three numbers, one order in six is the old one
            assert torch.equal(tensor, before[name]) == name.startswith(("layers.0", "layers.1")), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.fixture(scope="module")
def numbers():
    model = small_chain()
    images, references = data(count=1)
    generator = torch.Generator().manual_seed(0)
    randomised = {f"{depth:g}": randomise(model, depth, generator) for depth in DEPTHS}
    rows = list(quality(model, randomised, images, references, generator, "margin", segments=8))
    return pd.DataFrame(rows, columns=["name", "measure", "value"]).set_index(["measure", "name"])["value"]


def test_every_layer_has_every_number(numbers):
    for measure in numbers.index.unique("measure"):
        expected = ["conv1", "pool"] if measure == "agreement" else ["conv1", "pool", "conv2"]
        assert list(numbers[measure].index) == expected, measure
    assert {f"likeness {depth:g}" for depth in DEPTHS} <= set(numbers.index.unique("measure"))


def test_curves_begin_at_f_of_the_image_and_end_at_that_of_the_references(numbers):
    model = small_chain()
    images, references = data(count=1)
    layer = explain_layers(model, images, references)["pool"]
    sign = 1 if layer.total[0] > 0 else -1
    for kind in ("deletion", "random", "least first"):
        for name in ("conv1", "pool", "conv2"):
            begin, end = numbers[f"{kind} {SHARES[0]:g}", name], numbers[f"{kind} {SHARES[-1]:g}", name]
            assert begin - end == pytest.approx(abs(float(layer.total[0])), rel=1e-9)
            assert end == pytest.approx(sign * float(layer.expected[0]), rel=1e-9)


def test_values_are_more_faithful_than_random_order(numbers):
    assert (numbers["deletion gain"] > 0).all()
    assert (numbers["insertion gain"] > 0).all()


def test_subsets_have_equally_many_features():
    masks = random_subsets(torch.zeros(5, 4, 10), torch.Generator().manual_seed(0))
    assert masks.flatten(1).sum(1).tolist() == [20] * len(masks)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks)
