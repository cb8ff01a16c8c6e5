"""References in two levels: exact sums with respect to all, the combination as it is defined, an honest error."""

import pytest
import torch
from torch import Tensor, nn

from layershap.explain import Chain, explain_layers
from layershap.explain.levels import standard_error, values_by_reference
from nets import token_chain


def chain() -> Chain:
    torch.manual_seed(3)
    layers = [
        ("first", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.SiLU())),
        ("pool", nn.MaxPool2d(2)),
        ("second", nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())),
    ]
    return (
        Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 16), nn.Tanh(), nn.Linear(16, 2))).double().eval()
    )


def pictures(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


@pytest.mark.parametrize("path", ["layer", "image"])
def test_many_with_one_segment_and_what_more_segments_change_of_few(path):
    model, images, references = chain(), pictures(2, 1), pictures(20, 2)
    options = {"path": path, "keep_features": True}
    found = explain_layers(
        model, images, references[:4], more_references=references[4:], segments=5, keep_references=True, **options
    )
    every = explain_layers(model, images, references, segments=1, **options)
    few, fine = (explain_layers(model, images, references[:4], segments=number, **options) for number in (1, 5))
    for name, layer in found.items():
        expected = every[name].heatmap + fine[name].heatmap - few[name].heatmap
        assert torch.allclose(layer.heatmap, expected, rtol=1e-12, atol=1e-13)
        assert layer.by_reference.shape[:2] == (2, 20)
        assert torch.allclose(layer.by_reference.mean(1), layer.heatmap, rtol=1e-12, atol=1e-13)
        assert torch.allclose(layer.features.sum(1), layer.heatmap, rtol=1e-12, atol=1e-13)
        assert layer.segments == 5
        if path == "layer":
            assert torch.allclose(layer.own - layer.reference, layer.heatmap, rtol=1e-11, atol=1e-12)
        else:
            assert layer.own is None


def test_sums_are_exact_with_respect_to_all_references():
    model, images, references = chain(), pictures(3, 1), pictures(30, 2)
    found = explain_layers(model, images, references[:3], more_references=references[3:], segments=3)
    with torch.no_grad():
        margin = (model(images) @ torch.tensor([-1.0, 1.0], dtype=torch.float64))[:, None]
        change = (margin - model(references) @ torch.tensor([-1.0, 1.0], dtype=torch.float64)).mean(1)
    for layer in found.values():
        assert torch.allclose(layer.heatmap.sum((1, 2)), change, rtol=1e-12, atol=1e-12)
        assert float(layer.gap.abs().max()) < 1e-12


def test_one_segment_needs_no_correction():
    model, images, references = chain(), pictures(1, 1), pictures(9, 2)
    two = explain_layers(model, images, references[:3], more_references=references[3:], segments=1)
    one = explain_layers(model, images, references, segments=1)
    for name, layer in two.items():
        assert torch.allclose(layer.heatmap, one[name].heatmap, rtol=1e-12, atol=1e-14)
        assert torch.allclose(layer.standard_error, one[name].standard_error, rtol=1e-9, atol=1e-14)


def test_tokens_keep_their_prefix():
    model = token_chain().double()
    size = (3, 16, 16)
    generator = torch.Generator().manual_seed(5)
    images, references = (torch.rand(count, *size, generator=generator, dtype=torch.float64) for count in (1, 12))
    found = explain_layers(model, images, references[:3], more_references=references[3:], segments=3)
    with_prefix = [layer for layer in found.values() if layer.prefix is not None]
    assert with_prefix
    for layer in with_prefix:
        assert torch.allclose(layer.heatmap.sum((1, 2)) + layer.prefix, layer.total, rtol=1e-12)
        assert float(layer.gap.abs().max()) < 1e-12


@pytest.mark.parametrize(("few", "more"), [(5, 0), (5, 25), (10, 60)])
def test_the_error_told_is_the_spread_of_the_maps(few, more):
    """Over many draws of references: twice the error covers what all of them would give at 90 to 98 % of places."""
    model, image, population = chain(), pictures(1, 1), pictures(400, 2)
    fine, one = (
        explain_layers(model, image, population, segments=number, keep_references=True, layers=["pool"])["pool"]
        for number in (6, 1)
    )
    fine_maps, one_maps = fine.by_reference[0], one.by_reference[0]
    truth = fine_maps.mean(0)
    generator = torch.Generator().manual_seed(7)
    maps, told, covered = [], [], []
    for _ in range(600):
        chosen = torch.randint(400, (few + more,), generator=generator)
        pair = (fine_maps[chosen[:few]], one_maps[chosen] if more else None)
        maps.append(values_by_reference(*pair).mean(0))
        told.append(standard_error(*pair))
        covered.append((maps[-1] - truth).abs() <= 2 * told[-1])
    spread, error = torch.stack(maps).std(0), torch.stack(told).square().mean(0).sqrt()
    assert 0.93 < float(spread.norm() / error.norm()) < 1.07
    assert 0.87 < float(torch.stack(covered).double().mean()) < 0.98


def test_the_error_is_the_one_that_comes_out():
    model, image, references = chain(), pictures(1, 1), pictures(12, 2)
    found = explain_layers(model, image, references[:4], more_references=references[4:], segments=3)
    fine = explain_layers(model, image, references[:4], segments=3, keep_references=True)
    one = explain_layers(model, image, references, segments=1, keep_references=True)
    for name, layer in found.items():
        a, f = one[name].by_reference[0], fine[name].by_reference[0]
        corrected = a[:4] + 3 * (f - a[:4])
        expected = (4 * corrected.var(0) + 8 * a.var(0)).sqrt() / 12
        assert torch.allclose(layer.standard_error[0], expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (pictures(2, 2)[..., :8], r"images and more_references differ: \(3, 12, 12\) and \(3, 12, 8\)"),
        (pictures(2, 2).float(), "more_references and images differ"),
        (pictures(2, 2) * torch.inf, "more_references must be finite"),
        (pictures(2, 2)[0], r"more_references must be \[N, channels, height, width\]"),
        (pictures(2, 2)[:0], r"more_references must be \[N, channels, height, width\]"),
    ],
)
def test_further_references_that_do_not_fit_are_named(more, words):
    with pytest.raises(ValueError, match=words):
        explain_layers(chain(), pictures(1, 1), pictures(3, 2), more_references=more)
