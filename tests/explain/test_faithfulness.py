import numpy as np
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.explain.faithfulness import replacement_curve, sensitivity_n
from layershap.explain.outputs import output_values
from nets import data, small_chain

SHARES = [0.0, 0.1, 0.5, 0.9, 1.0]


def features_of(model, images, references, layer):
    with torch.no_grad():
        return model.features(images, 0, layer + 1), model.features(references, 0, layer + 1)


def test_the_ends_of_a_curve_are_f_of_the_image_and_of_the_references():
    model = small_chain()
    images, references = data(count=1)
    ends = [output_values(model(tensor).detach(), 1, "margin").mean() for tensor in (images, references)]
    for layer in range(3):
        own, others = features_of(model, images, references, layer)
        ranking = torch.rand(own.shape[1:], generator=torch.Generator().manual_seed(0))
        curve = replacement_curve(model, layer, own, others, ranking, SHARES, 1)
        torch.testing.assert_close(curve[[0, -1]], torch.stack(ends))


def test_a_curve_against_the_rule_written_slowly():
    model = small_chain()
    images, references = data(count=1)
    own, others = features_of(model, images, references, 1)
    ranking = torch.rand(own.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = replacement_curve(model, 1, own, others, ranking, SHARES, 1)
    order = sorted(range(ranking.numel()), key=lambda place: -float(ranking.flatten()[place]))
    for share, found in zip(SHARES, curve, strict=True):
        values = []
        for reference in others:
            mixed = own.clone().flatten()
            for place in order[: round(share * len(order))]:
                mixed[place] = reference.flatten()[place]
            with torch.no_grad():
                values.append(float(output_values(model.tail(mixed.view_as(own), 2), 1, "margin")))
        assert abs(np.mean(values) - float(found)) < 1e-12


def linear_net():
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    return Chain([("conv", nn.Conv2d(2, 4, 3, padding=1))], head).double().eval()


def test_values_of_a_linear_net_say_exactly_what_f_loses():
    model = linear_net()
    images, references = data(count=1)
    own, others = features_of(model, images, references, 0)
    values = explain_layers(model, images, references, keep_features=True)["conv"].features[0]
    masks = torch.rand((20, *values.shape), generator=torch.Generator().manual_seed(0)) < 0.1
    assert abs(sensitivity_n(model, 0, own, others, values, masks, 1) - 1) < 1e-9
    assert sensitivity_n(model, 0, own, others, -values, masks, 1) < -0.999
    shuffled = values.flatten()[torch.randperm(values.numel())].view_as(values)
    assert abs(sensitivity_n(model, 0, own, others, shuffled, masks, 1)) < 0.9


def test_nothing_lost_has_no_correlation():
    model = linear_net()
    images, _ = data(count=1)
    own, others = features_of(model, images, images, 0)
    masks = torch.rand((5, *own.shape[1:])) < 0.5
    assert np.isnan(sensitivity_n(model, 0, own, others, torch.zeros_like(own[0]), masks, 1))


def test_the_most_important_features_of_a_linear_net_take_the_most():
    model = linear_net()
    images, references = data(count=1)
    own, others = features_of(model, images, references, 0)
    values = explain_layers(model, images, references, keep_features=True)["conv"].features[0]
    curve = replacement_curve(model, 0, own, others, values, SHARES, 1)
    # f falls by exactly what was said of the features replaced
    said = values.flatten().sort(descending=True).values
    expected = [float(curve[0] - said[: round(share * len(said))].sum()) for share in SHARES]
    np.testing.assert_allclose(curve.numpy(), expected, atol=1e-9)
