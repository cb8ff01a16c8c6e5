import itertools

import pytest
import torch
from torch import nn

from layershap.explain import Chain, UnsupportedOperationError, explain_layers, layers
from layershap.explain.checks import InexactSumError
from layershap.explain.outputs import output_values
from nets import Residual, data, small_chain

PATHS = ("layer", "image")


@pytest.mark.parametrize(("path", "segments"), [*itertools.product(PATHS, (1, 2, 5))])
@pytest.mark.parametrize("output", ["margin", "logit", "probability"])
@pytest.mark.parametrize("classes", [2, 4])
def test_sums_are_exact_at_every_layer(path, segments, output, classes):
    model = small_chain(classes)
    images, references = data()
    result = explain_layers(model, images, references, path=path, segments=segments, output=output)
    with torch.no_grad():
        logits = model(images)
        targets = torch.ones(3, dtype=int) if classes == 2 else logits.argmax(1)
        own = torch.stack([output_values(row, int(t), output) for row, t in zip(logits, targets, strict=True)])
        expected = torch.stack([output_values(model(references), int(t), output).mean() for t in targets])
    for layer in result.values():
        torch.testing.assert_close(layer.heatmap.sum((1, 2)), own - expected, rtol=1e-10, atol=1e-12)
        assert float(layer.gap.abs().max()) < 1e-12


def test_margin_of_two_classes_is_the_difference_of_logits():
    model = small_chain()
    images, references = data()
    logits = model(images).detach()
    torch.testing.assert_close(output_values(logits, 1, "margin"), logits[:, 1] - logits[:, 0])
    layer = explain_layers(model, images, references, target=0)["pool"]
    opposite = explain_layers(model, images, references, target=1)["pool"]
    torch.testing.assert_close(layer.heatmap, -opposite.heatmap)


def slow_layer_path(model, image, references, start, segments):
    """SHAP values by the rule of DeepLIFT, segment after segment, through plain linear algebra.

    Multipliers are got by finite differences of each layer: activations by quotients, linear parts by their Jacobian.
    """
    with torch.no_grad():
        own, others = model.features(image[None], stop=start), model.features(references, stop=start)
    values = torch.zeros_like(own[0])
    modules = [
        part
        for layer in [*model.layers[start:], model.head]
        for part in (layer if isinstance(layer, nn.Sequential) else [layer])
    ]
    for other in others:
        for k in range(segments):
            a = other + (own[0] - other) * k / segments
            b = other + (own[0] - other) * (k + 1) / segments
            total = None
            x, y = a[None], b[None]
            for module in modules:
                x_out, y_out = module(x), module(y)
                if isinstance(module, nn.ReLU):
                    slope = torch.where(x == y, (x > 0).double(), (y_out - x_out) / (y - x)).flatten()
                    jacobian = torch.diag(slope)
                else:
                    jacobian = torch.autograd.functional.jacobian(lambda z, m=module: m(z).flatten(), x)
                    jacobian = jacobian.reshape(x_out.numel(), x.numel())
                total = jacobian if total is None else jacobian @ total
                x, y = x_out.detach(), y_out.detach()
            multiplier = (total[1] - total[0]).reshape(own[0].shape)
            values += multiplier * (b - a) / len(others)
    return values.detach()


@pytest.mark.parametrize("segments", [1, 3])
def test_layer_path_against_the_rule_written_slowly(segments):
    # average pools: the slow version has no rule for maxima
    model = small_chain(pool=nn.AvgPool2d)
    images, references = data(count=1)
    result = explain_layers(model, images, references, segments=segments, keep_features=True)
    for start, name in enumerate(model.names, 1):
        expected = slow_layer_path(model, images[0], references, start, segments)
        torch.testing.assert_close(result[name].features[0], expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(result[name].heatmap[0], expected.sum(0), rtol=1e-9, atol=1e-12)


def test_one_segment_is_the_same_on_both_paths():
    images, references = data()
    model = small_chain()
    first, second = (explain_layers(model, images, references, path=path, segments=1) for path in PATHS)
    for name in model.names:
        torch.testing.assert_close(first[name].heatmap, second[name].heatmap)
        torch.testing.assert_close(first[name].standard_error, second[name].standard_error)


def integral(model, image, references, start, path, steps=4000):
    """The integral along the path by the midpoint rule: integrated gradients and conductance."""
    values = 0
    for other in references:
        with torch.no_grad():
            a, b = other[None], image[None]
            if path == "layer":
                a, b = model.features(a, stop=start), model.features(b, stop=start)
            t = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
            shape = (-1, *([1] * (a.dim() - 1)))
            points = a + (b - a) * t.view(shape)
            edges = a + (b - a) * (torch.arange(steps + 1, dtype=torch.float64) / steps).view(shape)
            if path == "image":
                points, edges = model.features(points, stop=start), model.features(edges, stop=start)
        points.requires_grad_()
        logits = model.tail(points, start)
        (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), points)
        values = values + (gradient * (edges[1:] - edges[:-1])).sum(0) / len(references)
    return values.detach()


@pytest.mark.parametrize("path", PATHS)
def test_many_segments_tend_to_the_integral(path):
    model = small_chain(activation=nn.SiLU)
    images, references = data(count=1, references=2)
    result = explain_layers(model, images, references, path=path, segments=512, keep_features=True)
    for start, name in enumerate(model.names, 1):
        expected = integral(model, images[0], references, start, path)
        assert float((result[name].features[0] - expected).norm() / expected.norm()) < 2e-3


def test_error_falls_with_the_square_of_the_segments():
    model = small_chain(activation=nn.SiLU, pool=nn.AvgPool2d)
    images, references = data(count=1, references=2)
    expected = integral(model, images[0], references, 1, "layer", steps=8000)
    error = []
    for segments in (4, 16):
        layer = explain_layers(model, images, references, segments=segments, keep_features=True)["conv1"]
        error.append(float((layer.features[0] - expected).norm()))
    assert error[0] / error[1] > 12


@pytest.mark.parametrize("path", PATHS)
def test_a_linear_net_gives_weight_times_difference(path):
    torch.manual_seed(0)
    layers = [("one", nn.Conv2d(2, 3, 3)), ("two", nn.AvgPool2d(2))]
    model = Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(27, 2))).double()
    images, references = data()
    result = explain_layers(model, images, references, path=path, segments=3, keep_features=True)
    with torch.no_grad():
        own = model.features(images)
        mean = model.features(references).mean(0)
    weight = (model.head[1].weight[1] - model.head[1].weight[0]).view(3, 3, 3).detach()
    torch.testing.assert_close(result["two"].features, weight * (own - mean))


@pytest.mark.parametrize("path", PATHS)
def test_an_image_against_itself_is_exactly_zero(path):
    images, _ = data(count=1, dtype=torch.float32)
    result = explain_layers(small_chain(dtype=torch.float32), images, images, path=path)
    for layer in result.values():
        assert float(layer.heatmap.abs().max()) == 0


def test_an_unused_map_gets_zero():
    model = small_chain()
    with torch.no_grad():
        model.layers[2][0].weight[:, 1] = 0
    result = explain_layers(model, *data(), keep_features=True)
    assert float(result["pool"].features[:, 1].abs().max()) == 0
    assert float(result["conv1"].features[:, 1].abs().max()) == 0
    assert float(result["conv1"].features[:, 0].abs().max()) > 0


def test_own_part_less_reference_part_is_the_heatmap():
    for layer in explain_layers(small_chain(), *data(), segments=3).values():
        torch.testing.assert_close(layer.own - layer.reference, layer.heatmap)


def test_standard_error_is_that_of_the_mean_over_references():
    model = small_chain()
    images, references = data(count=1, references=6)
    together = explain_layers(model, images, references)["conv2"]
    single = torch.stack([explain_layers(model, images, one[None])["conv2"].heatmap[0] for one in references])
    torch.testing.assert_close(together.heatmap[0], single.mean(0))
    torch.testing.assert_close(together.standard_error[0], single.std(0) / 6**0.5)


def test_the_error_band_covers_the_map_of_all_references():
    """Repeated draws of 20 from 2000: the 95 % t band covers the population's map in 90 to 98 % of pixels."""
    model = small_chain()
    images, population = data(count=1, references=2000)
    single = []
    for part in population.split(100):
        result = explain_layers(model, images, part, segments=2, path="image")["conv1"]
        single.append((result, len(part)))
    truth = sum(result.heatmap[0] * count for result, count in single) / 2000
    generator = torch.Generator().manual_seed(5)
    covered = []
    for _ in range(60):
        chosen = population[torch.randperm(2000, generator=generator)[:20]]
        layer = explain_layers(model, images, chosen, segments=2, path="image")["conv1"]
        covered.append(((layer.heatmap[0] - truth).abs() <= 2.093 * layer.standard_error[0]).double().mean())
    assert 0.90 <= float(torch.stack(covered).mean()) <= 0.98


def test_images_do_not_depend_on_their_company():
    model = small_chain()
    images, references = data()
    together = explain_layers(model, images, references)["pool"]
    alone = explain_layers(model, images[1:2], references)["pool"]
    torch.testing.assert_close(together.heatmap[1:2], alone.heatmap)


def test_chosen_layers_equal_those_of_all():
    model = small_chain()
    images, references = data()
    whole = explain_layers(model, images, references)
    part = explain_layers(model, images, references, layers=["conv2"])
    assert list(part) == ["conv2"]
    torch.testing.assert_close(part["conv2"].heatmap, whole["conv2"].heatmap)


@pytest.mark.parametrize("path", PATHS)
def test_residual_blocks_with_gates_are_exact(path):
    torch.manual_seed(0)
    layers = [("stem", nn.Conv2d(2, 4, 3, padding=1)), ("one", Residual(4)), ("pool", nn.MaxPool2d(3, 2, 1)),
              ("two", Residual(4))]  # fmt: skip
    model = Chain(layers, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))).double().eval()
    for layer in explain_layers(model, *data(), path=path, segments=3).values():
        assert float((layer.gap / layer.total).abs().max()) < 1e-10


@pytest.mark.parametrize("path", PATHS)
def test_the_model_is_as_it_was_afterwards(path):
    model = small_chain()
    model.train()
    model.layers[1].eval()
    model.layers[0][0].weight.requires_grad_(False)
    model.head[1].weight.grad = torch.ones_like(model.head[1].weight)
    before = [(m.training) for m in model.modules()], [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    explain_layers(model, *data(), path=path)
    assert before == ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(model.head[1].weight.grad, torch.ones_like(model.head[1].weight))
    assert not [hook for m in model.modules() for hook in (*m._forward_hooks, *m._backward_hooks)]
    model.head.append(Sort())
    with pytest.raises(UnsupportedOperationError, match="sort"):
        explain_layers(model, *data(), path=path)
    assert before[0] == [m.training for m in model.modules()][:-1]
    assert torch.is_grad_enabled()


class Sort(nn.Module):
    """An operation without a rule."""

    def forward(self, x):
        """Return sorted x."""
        return x.sort(1)[0]


class Mixes(nn.Module):
    """What one image gives depends on the others of its batch."""

    def forward(self, x):
        """Return x times its maximum over the batch."""
        return x * x.amax(0, keepdim=True)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_a_model_that_mixes_the_images_of_a_batch_is_refused(path):
    model = small_chain()
    model.head.append(Mixes())
    with pytest.raises(InexactSumError):
        explain_layers(model, *data(), path=path)


class Liar(nn.Module):
    """Answers one row otherwise than many, so that f(x) of the path is not the model's f(x)."""

    def forward(self, x):
        """Return x, or 2 x when asked for several rows under gradients."""
        return x * 2 if x.requires_grad else x


def test_a_model_that_answers_otherwise_when_followed_is_an_error():
    model = small_chain()
    model.head.append(Liar())
    with pytest.raises(InexactSumError, match="when they are followed"):
        explain_layers(model, *data())


class Square(torch.autograd.Function):
    """An operation whose gradient is wrong, and which hides from the mode."""

    @staticmethod
    def forward(ctx, x):
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Hidden(nn.Module):
    """Square as a module."""

    def forward(self, x):
        """Return x squared."""
        return Square.apply(x)


@pytest.mark.parametrize("path", PATHS)
def test_a_sum_that_does_not_agree_is_an_error_naming_the_layer(path):
    model = small_chain()
    model.layers[2].append(Hidden())
    with pytest.raises(InexactSumError, match="layer conv1"):
        explain_layers(model, *data(), path=path)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("output", ["margin", "probability"])
def test_lines_followed_in_pieces_give_the_same(monkeypatch, rows, output):
    model, (images, references) = small_chain(), data()
    options = {"path": "image", "segments": 7, "output": output, "keep_features": True}
    whole = explain_layers(model, images, references, **options)
    monkeypatch.setattr(layers, "FEWEST_ROWS", rows)
    monkeypatch.setattr(layers, "IMAGE_ELEMENTS", 1)
    for name, found in explain_layers(model, images, references, **options).items():
        torch.testing.assert_close(found.heatmap, whole[name].heatmap, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.standard_error, whole[name].standard_error, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found.features, whole[name].features, rtol=1e-12, atol=1e-14)
        assert float(found.gap.abs().max()) < 1e-12


@pytest.mark.parametrize("path", PATHS)
def test_a_tolerance_is_kept_against_a_fine_reference(path):
    model, (images, references) = small_chain(activation=nn.Tanh, pool=nn.AvgPool2d), data()
    fine = explain_layers(model, images, references, path=path, segments=256)
    found = explain_layers(model, images, references, path=path, segments=1, tolerance=0.05)
    for name, layer in found.items():
        assert 1 < layer.segments < 64
        assert layer.change <= 0.05
        truth = fine[name].heatmap.flatten(1)
        assert float(((layer.heatmap.flatten(1) - truth).norm(dim=1) / truth.norm(dim=1)).max()) < 0.05
    if path == "image":
        assert len({layer.segments for layer in found.values()}) == 1


def test_a_looser_tolerance_takes_fewer_segments_and_none_changes_nothing():
    model, given = small_chain(activation=nn.Tanh), data()
    numbers = [
        sum(layer.segments for layer in explain_layers(model, *given, segments=1, tolerance=tolerance).values())
        for tolerance in (0.5, 0.05, 0.005)
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[2]
    plain = explain_layers(model, *given, segments=3)
    assert {(layer.change, layer.segments) for layer in plain.values()} == {(None, 3)}


def test_the_choice_of_segments_ends():
    found = explain_layers(small_chain(), *data(), segments=128, tolerance=1e-9)
    assert {layer.segments for layer in found.values()} == {256}
    assert max(layer.change for layer in found.values()) > 1e-9


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"segments": 0}, "segments.*0"),
        ({"path": "straight"}, "straight"),
        ({"tolerance": 0.0}, "tolerance.*0"),
        ({"output": "loss"}, "loss"),
        ({"target": 2}, "target.*2"),
        ({"layers": ["conv9"]}, "conv9.*conv1"),
        ({"images": torch.zeros(2, 8, 8)}, "images"),
        ({"images": torch.zeros(0, 2, 8, 8)}, "images"),
        ({"images": torch.full((1, 2, 8, 8), torch.nan, dtype=torch.float64)}, "finite"),
        ({"references": torch.zeros(1, 2, 8, 9, dtype=torch.float64)}, "differ"),
        ({"references": torch.zeros(1, 2, 8, 8, dtype=torch.int64)}, "float32 or float64, not torch.int64"),
        ({"model": nn.Linear(1, 1)}, "Chain.*Linear"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, expected):
    images, references = data()
    arguments = {"model": small_chain(), "images": images, "references": references, **change}
    with pytest.raises(ValueError, match=expected):
        explain_layers(**arguments)


def test_float32_is_close_to_float64():
    images, references = data(dtype=torch.float32)
    result = explain_layers(small_chain(dtype=torch.float32), images, references)
    exact = explain_layers(small_chain(), *data())
    for name, layer in result.items():
        assert layer.heatmap.dtype == torch.float32
        torch.testing.assert_close(layer.heatmap.double(), exact[name].heatmap, rtol=1e-3, atol=1e-4)


def test_to_shap_adds_up():
    images, references = data()
    layer = explain_layers(small_chain(), images, references, keep_features=True)["pool"]
    explanation = layer.to_shap()
    assert explanation.values.shape == (3, 4, 4, 4)
    with torch.no_grad():
        logits = small_chain()(images)
    sums = explanation.values.sum((1, 2, 3)) + explanation.base_values
    torch.testing.assert_close(torch.from_numpy(sums), logits[:, 1] - logits[:, 0])


def test_progress_counts_images():
    seen = []
    explain_layers(small_chain(), *data(), progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("path", PATHS)
def test_the_map_against_each_reference_is_that_of_the_reference_alone(path):
    model = small_chain()
    images, references = data(count=1)
    references[1] = images[0]  # the image itself, in the middle
    found = explain_layers(model, images, references, path=path, keep_references=True)
    for name, layer in found.items():
        alone = [explain_layers(model, images, reference[None], path=path)[name].heatmap for reference in references]
        torch.testing.assert_close(layer.by_reference, torch.stack(alone, 1))
        torch.testing.assert_close(layer.by_reference.mean(1), layer.heatmap)
    assert explain_layers(model, images, references, path=path)["pool"].by_reference is None
