"""In-place operations, one-unit heads, and networks of torchvision that use both as they come."""

import pytest
import torch
from torch import nn

from layershap.explain import Chain, UnsupportedOperationError, explain_layers
from layershap.explain.checks import InexactSumError
from layershap.torchvision_guard import torchvision
from nets import Hook, data, small_chain


def view_then_base(x):
    y = x[:, :2]
    y.relu_()
    return x


def base_then_view(x):
    x = x * 1
    y = x[:, :2]
    x.relu_()
    return y


def other_view(x):
    first = (x * 1).view(len(x), -1)
    second = first.view_as(first)
    first.mul_(2)
    return (second + 1).view(x.shape)


def view_alone(x):
    return x.flatten(1).relu_().view(x.shape)


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("function", [view_then_base, base_then_view, other_view])
def test_memory_changed_through_another_tensor_is_refused(function, path):
    conv = nn.Conv2d(2, 4, 3, padding=1)
    model = Chain([("conv", conv), ("odd", Hook(function))], nn.Sequential(nn.Flatten(), nn.LazyLinear(2))).double()
    images, references = data()
    images[0] = references[0] = 0
    model(images)
    with pytest.raises(UnsupportedOperationError, match="in-place"):
        explain_layers(model.eval(), images, references, path=path)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_a_view_changed_in_place_and_used_alone_is_exact(path):
    model, (images, references) = small_chain(), data()
    model.layers[0].append(Hook(view_alone))
    for layer in explain_layers(model, images, references, path=path).values():
        assert float(layer.gap.abs().max()) < 1e-12


def item_of_its_own(x):
    y = x + 0
    y[:, 1:, ::2] = y[:, 1:, ::2] * x[:, :-1, 1::2].tanh()
    return y.sin()


def item_of_a_constant(x):
    y = torch.zeros_like(x)
    y[:, :2] = x[:, 2:].exp()
    y[:, 2:] = 0.5
    return y * x


def item_where_the_images_move(x):
    y = x.flatten(2).transpose(0, 1) + 0
    y[:1, :, 3:] = y[1:2, :, 3:] * y[:1, :, 3:]
    return y.transpose(0, 1).view(x.shape)


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("function", [item_of_its_own, item_of_a_constant, item_where_the_images_move])
def test_items_that_are_set_are_exact(function, path):
    model, (images, references) = small_chain(), data()
    model.layers[0].append(Hook(function))
    with torch.no_grad():
        assert not torch.equal(model(images), small_chain()(images))
    for layer in explain_layers(model, images, references, path=path, segments=3).values():
        assert float(layer.gap.abs().max()) < 1e-12


def test_items_at_places_that_depend_on_the_image_are_refused():
    def at_the_largest(x):
        y = x + 0
        y[x > 0] = 1.0
        return y

    model, (images, references) = small_chain(), data()
    model.layers[0].append(Hook(at_the_largest))
    with pytest.raises(UnsupportedOperationError):
        explain_layers(model, images, references)


class Threshold(nn.Module):
    """Doubles when followed what is not black."""

    def forward(self, x):
        return x * 2 if x.requires_grad else x


@pytest.mark.parametrize(("path", "expected"), [("layer", "sum to"), ("image", "when they are followed")])
def test_every_image_is_compared_with_the_plain_model(path, expected):
    model, (images, references) = small_chain(), data()
    images[0] = references[0] = 0
    for part in (model.layers[0][0], model.layers[2][0], model.head[1], model.head[4]):
        nn.init.zeros_(part.bias)  # a black image gives 0, and twice that
    model.head.append(Threshold())
    with pytest.raises(InexactSumError, match=expected):
        explain_layers(model, images, references, path=path)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_dropout_in_place_in_eval_does_nothing(path):
    model = small_chain()
    plain = explain_layers(model, *data(), path=path)
    model.head[3] = nn.Dropout(0.5, inplace=True).eval()
    for name, layer in explain_layers(model, *data(), path=path).items():
        assert torch.equal(layer.heatmap, plain[name].heatmap)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_small", "mnasnet0_5"])
def test_torchvisions_networks_with_their_own_heads(name):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None)
    body = network.layers if name == "mnasnet0_5" else network.features
    pool = nn.AdaptiveAvgPool2d(1)
    half = len(body) // 2
    chain = Chain(
        [("low", body[:half]), ("high", body[half:])], nn.Sequential(pool, nn.Flatten(), network.classifier)
    ).double().eval()  # fmt: skip
    images, references = data(1, 2, shape=(3, 32, 32))
    for path in ("layer", "image"):
        for layer in explain_layers(
            chain, images, references, path=path, segments=2, target=3, output="logit"
        ).values():
            assert float((layer.gap / layer.total).abs()) < 1e-8


@pytest.mark.parametrize("output", ["margin", "logit", "probability"])
@pytest.mark.parametrize("path", ["layer", "image"])
def test_one_unit_is_the_log_odds_of_class_1(path, output):
    """The same as two units of which the first is always 0."""
    model, (images, references) = small_chain(1), data()
    double = small_chain(2)
    double.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("head.4")}, strict=False)
    with torch.no_grad():
        double.head[4].weight.copy_(torch.cat([torch.zeros_like(model.head[4].weight), model.head[4].weight]))
        double.head[4].bias.copy_(torch.cat([torch.zeros_like(model.head[4].bias), model.head[4].bias]))
    found = explain_layers(model, images, references, path=path, output=output, segments=3)
    expected = explain_layers(double, images, references, path=path, output=output, segments=3)
    with torch.no_grad():
        logits, others = model(images)[:, 0], model(references)[:, 0]
    if output == "probability":
        logits, others = logits.sigmoid(), others.sigmoid()
    for name, layer in found.items():
        torch.testing.assert_close(layer.total, logits - others.mean(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(layer.heatmap, expected[name].heatmap, rtol=1e-9, atol=1e-12)


def test_one_unit_has_no_logit_of_class_0():
    with pytest.raises(ValueError, match="one unit"):
        explain_layers(small_chain(1), *data(), target=0)
