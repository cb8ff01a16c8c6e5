"""The rules of attention and norms: exact at any distance, and as their formulas say, written slowly."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.explain.operations import UnsupportedOperationError
from layershap.torchvision_guard import torchvision
from nets import Hook, data, small_chain
from secants import POINTS, assert_exact, following, multipliers

SHAPE = (2, 3, 5)
BIAS = torch.ones(3, 3, dtype=torch.float64).triu()
MASK = torch.tensor([True, False, True, True, False])


def ends(kind, shape=SHAPE, paths=2, seed=3, dtype=torch.float64):
    """Points of some lines and their end, of a kind that rounding or masks make hard."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(paths * (POINTS - 1) + 1, *shape, generator=generator, dtype=torch.float64)
    if kind == "near":
        points = points[:1] + 1e-7 * points
    if kind == "equal":
        points = points[:1].expand_as(points)
    if kind == "partly equal":
        points[..., 1:] = points[:1, ..., 1:]
    if kind == "far":
        points = points * 1e3
    return points.to(dtype).clone()


KINDS = ["random", "near", "equal", "partly equal", "far"]
NORMS = {
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-5),
    "layer norm of several axes": lambda x: F.layer_norm(x, x.shape[-2:]),
    "group norm": lambda x: F.group_norm(x[..., None], 2).squeeze(-1) if x.shape[1] % 2 == 0 else F.group_norm(x, 1),
    "instance norm": lambda x: F.instance_norm(x.flatten(2)[..., None], use_input_stats=True),
    "rms norm": lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-6),
    "normalize": lambda x: F.normalize(x, dim=-1),
}
FUNCTIONS = {
    "softmax": lambda x: x.softmax(-1),
    "softmax over another axis": lambda x: x.softmax(2),
    "masked softmax": lambda x: x.masked_fill(~MASK, -torch.inf).softmax(-1),
    "log softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "logsumexp, axis kept": lambda x: torch.logsumexp(x, 2, keepdim=True),
    **NORMS,
    "matmul": lambda x: x @ x.transpose(-2, -1),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2)),
    "einsum": lambda x: torch.einsum("bhij,bhkj->bhik", x, x * 2 + 1),
    "baddbmm": lambda x: torch.baddbmm(x[:, 0, :, :3], x[:, 0], x[:, 1].mT, beta=0.5, alpha=2),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x - 1),
    "causal attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x - 1, is_causal=True),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x, x - 1, attn_mask=torch.eye(3) > 0.5),
    "attention with a bias": lambda x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.ones(3, 3).double().triu()
    ),
    "maximum": lambda x: torch.maximum(x, x.flip(-1) * 0.7),
    "minimum": lambda x: torch.minimum(x, x.flip(-1) * 0.7),
    "maximum with a number": lambda x: torch.maximum(x, torch.zeros(())),
    "amax": lambda x: x.amax(-1),
    "max over an axis": lambda x: x.max(-1)[0],
    "min over an axis": lambda x: torch.min(x, dim=-1, keepdim=True).values,
    "amin over axes": lambda x: x.amin((1, 3), keepdim=True),
    "cube": lambda x: x**3,
    "windows": lambda x: (x.reshape(-1, 3, 5).softmax(-1) @ x.reshape(-1, 5, 3)).reshape(x.shape[0], -1),
    "batch on another axis": lambda x: x.permute(1, 0, 2, 3).softmax(-1).permute(1, 0, 2, 3),
    "keys, queries, values": lambda x: torch.stack([x, x * 2, x + 1]).unbind(0)[1].square(),
    "roll, unfold, fold": lambda x: F.fold(F.unfold(x.roll(1, -1), 2).exp(), (3, 5), 2),
    "several spellings of linear": lambda x: x.repeat(1, 2, 1, 1).flip(1).mT.tile(1, 1, 1, 2).cumsum(-1).tanh(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_sums_are_exact(name, kind):
    points = ends(kind)
    if name in ("roll, unfold, fold", "several spellings of linear") and kind == "far":
        points /= 1e3  # exp, and a sum whose own rounding is larger
    size = float(FUNCTIONS[name](points).abs().max())
    assert_exact(FUNCTIONS[name], points, tolerance=1e-12 * max(1.0, size))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_values_are_torchs(name):
    points = ends("random")
    output, _, _ = multipliers(FUNCTIONS[name], points)
    expected = torch.stack([FUNCTIONS[name](point[None]) for point in points]).view(output.shape)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"attention with a bias"}))
def test_sums_are_exact_in_float32(name, kind):
    points = ends(kind, dtype=torch.float32)
    if name in ("roll, unfold, fold", "several spellings of linear", "cube") and kind == "far":
        points /= 1e3
    size = float(FUNCTIONS[name](points).abs().max())
    assert_exact(FUNCTIONS[name], points, tolerance=1e-5 * max(1.0, size))


def test_softmax_is_the_formula():
    points = ends("random", (4,))
    _, given, found = multipliers(lambda x: x.softmax(-1), points)
    for row, after in enumerate(following(len(given)).tolist()):
        p, q = (points[place].softmax(-1).tolist() for place in (row, after))
        mean = [(a - b) / (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)]
        centre = sum(g * m for g, m in zip(given[row].tolist(), mean, strict=True)) / sum(mean)
        expected = [m * (g - centre) for g, m in zip(given[row].tolist(), mean, strict=True)]
        assert found[row].tolist() == pytest.approx(expected, rel=1e-10)


def test_layer_norm_is_the_formula():
    points = ends("random", (6,))
    _, given, found = multipliers(lambda x: F.layer_norm(x, (6,), eps=0.1), points)
    for row, after in enumerate(following(len(given)).tolist()):
        g = given[row].tolist()
        a, b = ([value - float(points[place].mean()) for value in points[place].tolist()] for place in (row, after))
        r, s = (math.sqrt(sum(value**2 for value in c) / 6 + 0.1) for c in (a, b))
        middle = [(one + two) / 2 for one, two in zip(a, b, strict=True)]
        dot = sum(one * two for one, two in zip(g, middle, strict=True))
        every = [(1 / r + 1 / s) / 2 * g[k] - 2 / (6 * r * s * (r + s)) * middle[k] * dot for k in range(6)]
        assert found[row].tolist() == pytest.approx([value - sum(every) / 6 for value in every], rel=1e-10)


def test_a_shift_of_all_logits_changes_no_multiplier():
    points = ends("random", (4,))
    _, _, found = multipliers(lambda x: x.softmax(-1), points)
    _, _, shifted = multipliers(lambda x: (x + 100).softmax(-1), points)
    torch.testing.assert_close(found, shifted, rtol=1e-9, atol=1e-12)


class Block(nn.Module):
    """Attention over the places of maps, by torch's module."""

    def __init__(self, **options):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2, **options)
        self.first = options.get("batch_first", False)

    def forward(self, x):
        """Return [N, 4, H, W]."""
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        normed = normed if self.first else normed.transpose(0, 1)
        found = self.attention(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + (found if self.first else found.transpose(0, 1))
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("segments", [1, 5])
@pytest.mark.parametrize("first", [False, True])
def test_attention_of_torchs_module(path, segments, first):
    torch.manual_seed(4)
    model = Chain(
        [("conv", nn.Conv2d(2, 4, 3, 2)), ("one", Block(batch_first=first)), ("two", Block(batch_first=first))],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    ).double()
    images, references = data()
    for found in explain_layers(model, images, references, path=path, segments=segments).values():
        assert float(found.gap.abs().max()) < 1e-12


def test_many_segments_are_integrated_gradients():
    torch.manual_seed(4)
    model = Chain(
        [("conv", nn.Conv2d(2, 4, 3, 2)), ("one", Block())], nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    ).double()
    images, references = data(count=1, references=1)
    found = explain_layers(model, images, references, segments=400, keep_features=True)["conv"].features[0]
    start, end = model.layers[0](references), model.layers[0](images)
    total = torch.zeros_like(end)
    for share in (torch.arange(400) + 0.5) / 400:
        point = (start + share * (end - start)).detach().requires_grad_()
        logits = model.tail(point, 1)
        total += torch.autograd.grad(logits[0, 1] - logits[0, 0], point)[0] / 400
    torch.testing.assert_close(found, (total * (end - start))[0].detach(), rtol=1e-3, atol=1e-6)


def cut_at_the_stem(network, stem):
    """Return a network as two parts: its first convolution, and all the rest as the head."""
    module = network.get_submodule(stem)
    parent, _, name = stem.rpartition(".")

    class Rest(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network
            setattr(network.get_submodule(parent), name, nn.Identity())

        def forward(self, features):
            return self.network(features)

    return Chain([("stem", module)], Rest())


@pytest.mark.parametrize("path", ["layer", "image"])
def test_swin_of_torchvision(path):
    torch.manual_seed(5)
    network = torchvision.models.swin_transformer.SwinTransformer(
        [4, 4], 16, [1, 2], [2, 2], [4, 4], stochastic_depth_prob=0.0, num_classes=2
    )
    model = cut_at_the_stem(network.double().eval(), "features.0.0")
    images, references = data(shape=(3, 32, 32))
    (found,) = explain_layers(model, images, references, path=path, segments=2).values()
    assert float((found.gap / found.heatmap.abs().sum((1, 2))).abs().max()) < 1e-12


STEMS = {
    "vit_tiny_patch16_224": "patch_embed.proj",
    "mixer_s32_224": "stem.proj",
    "coat_lite_tiny": "patch_embed1.proj",
    "poolformer_s12": "stem.conv",
}


@pytest.mark.parametrize("name", sorted(STEMS))
def test_networks_of_timm(name):
    import timm

    torch.manual_seed(6)
    network = timm.create_model(name, pretrained=False, num_classes=2).double().eval()
    network.get_submodule(STEMS[name].rpartition(".")[0]).img_size = None  # it is given maps
    for value in network.parameters():
        if not value.any():  # a head that begins at 0
            nn.init.normal_(value, std=0.1)
    model = cut_at_the_stem(network, STEMS[name])
    images, references = data(count=1, references=1, shape=(3, 224, 224))
    (found,) = explain_layers(model, images, references, path="image", segments=2).values()
    assert float((found.gap / found.heatmap.abs().sum((1, 2))).abs().max()) < 1e-10


def test_a_hidden_batch_axis_is_found_in_a_layer():
    model = Chain(
        [
            ("conv", nn.Conv2d(2, 4, 3, padding=1)),
            ("moved", Hook(lambda x: x.transpose(0, 1).softmax(-1).transpose(0, 1))),
        ],
        nn.Sequential(nn.Flatten(), nn.Linear(256, 2)),
    ).double()
    for path in ("layer", "image"):
        for found in explain_layers(model, *data(), path=path, segments=30).values():
            assert float(found.gap.abs().max()) < 1e-12


def test_indices_of_a_maximum_may_be_returned_and_not_used():
    model, (images, references) = small_chain(), data()
    model.layers[0].append(Hook(lambda x: x * x.max(1, keepdim=True)[0]))
    assert all(float(layer.gap.abs().max()) < 1e-12 for layer in explain_layers(model, images, references).values())
    for use in (lambda found: found[0] + found[1], lambda found: found.indices.double()):
        model, (images, references) = small_chain(), data()
        model.layers[0].append(Hook(lambda x, use=use: x + use(x.max(1, keepdim=True))))
        with pytest.raises(UnsupportedOperationError, match="indices, which depend on the image"):
            explain_layers(model, images, references)
