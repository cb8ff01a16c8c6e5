"""Chain.of: layers where all data passes, named as the modules are, and the same function."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layershap.chain.cutting import Cutter
from layershap.chain.tracing import CannotBeCutError, trace
from layershap.explain import Chain, explain_layers
from layershap.torchvision_guard import torchvision


def build(name: str, **options: object) -> nn.Module:
    """Return a torchvision network with random weights in eval mode."""
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, **options).eval()


def zeros(side: int) -> Tensor:
    return torch.zeros(1, 3, side, side)


@pytest.mark.slow
def test_vgg19_has_the_papers_layers():
    chain = Chain.of(build("vgg19"))
    kinds = ["P" if isinstance(layer, nn.MaxPool2d) else "C" for layer in chain.layers]
    # with the input, Flatten, Dense, Dropout and Dense these are the paper's 26
    assert "".join(kinds) == "CCPCCPCCCCPCCCCPCCCCP"
    places = [int(name.removeprefix("features.")) for name in chain.names]
    modules = build("vgg19").features
    assert all(isinstance(modules[place], (nn.Conv2d, nn.MaxPool2d)) for place in places)


LAYERS = {
    "resnet18": ["conv1", "maxpool", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))],
    "mobilenet_v2": [f"features.{number}" for number in range(19)],
    "squeezenet1_1": ["features.0", *(f"features.{number}" for number in range(2, 13)), "classifier.1"],
    "convnext_tiny": [
        *("features.0", *(f"features.1.{n}" for n in range(3)), "features.2", *(f"features.3.{n}" for n in range(3))),
        *("features.4", *(f"features.5.{n}" for n in range(9)), "features.6", *(f"features.7.{n}" for n in range(3))),
    ],
    "swin_t": [
        *("features.0", "features.1.0", "features.1.1", "features.2", "features.3.0", "features.3.1", "features.4"),
        *(*(f"features.5.{n}" for n in range(6)), "features.6", "features.7.0", "features.7.1"),
    ],
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_blocks_named_as_the_modules_are(name):
    network = build(name)
    chain = Chain.of(network, zeros(64))
    assert list(chain.names) == LAYERS[name]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(chain(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "eva02_tiny_patch14_224"])
def test_a_layer_is_what_its_block_gives(name):
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    side = network.default_cfg["input_size"][-1]
    chain = Chain.of(network)
    assert list(chain.names) == ["patch_embed", *(f"blocks.{number}" for number in range(12))]
    given: dict[str, Tensor] = {}
    for block in chain.names:
        network.get_submodule(block).register_forward_hook(lambda *call, block=block: given.update({block: call[-1]}))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network(images)
        for number, block in enumerate(chain.names):
            assert torch.allclose(chain.features(images, stop=number + 1), given[block], rtol=1e-4, atol=1e-4)


class Plain(nn.Module):
    """Convolutions, activations and pools by functions, as in many a course."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.first(images)), 2)
        maps = maps + F.relu(self.second(maps))
        return self.last(maps.mean((2, 3)))


def test_functions_are_cut_as_modules_are():
    chain = Chain.of(Plain(), zeros(16))
    assert chain.names == ("first", "max_pool2d", "second")
    found = explain_layers(chain, torch.rand(1, 3, 16, 16), torch.rand(2, 3, 16, 16), target=1)
    assert all(float(layer.gap.abs().max()) < 1e-5 for layer in found.values())


def test_a_wrapper_is_opened():
    wrapped = nn.Sequential(nn.Sequential(Plain()))
    assert Chain.of(wrapped, zeros(16)).names == ("0.0.first", "max_pool2d", "0.0.second")


def test_a_module_called_twice_is_two_layers():
    convolution = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(convolution, nn.ReLU(), convolution, nn.Flatten(), nn.Linear(3 * 64, 2))
    assert Chain.of(model, zeros(8)).names == ("0", "0:2")


def test_layers_are_chosen_by_name_or_pattern():
    network = build("resnet18")
    chain = Chain.of(network, zeros(64), layers=["conv1", "layer*.1"])
    assert chain.names == ("conv1", "layer1.1", "layer2.1", "layer3.1", "layer4.1")
    one = Chain.of(network, zeros(64), layers="layer2.1")
    assert one.names == ("layer2.1",)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(chain(images), one(images))
    with pytest.raises(ValueError, match=r"'layer2\.2' fits none of layer2\.1"):
        Chain.of(network, zeros(64), layers=["layer2.2"])


def test_the_model_stays_as_it_was_and_shares_its_weights():
    network = build("resnet18").train()
    chain = Chain.of(network, zeros(64))
    assert all(module.training for module in network.modules())
    assert chain.training
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.bias.zero_()
    with torch.no_grad():
        assert float(chain.eval()(torch.rand(1, 3, 64, 64)).abs().max()) == 0


class Branches(nn.Module):
    """Two branches side by side from the images to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)
        self.last = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.cat([self.left(images).mean((2, 3)), self.right(images).mean((2, 3))], 1))


class Asks(nn.Module):
    """Takes another course by the numbers of its input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) if float(images.sum()) > -1e9 else self.inner(-images)


class InPlace(Plain):
    """Changes a tensor and goes on with another name of it."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        maps.relu_()
        return self.last(maps.mean((2, 3)))


class TwoOutputs(Plain):
    """Gives logits and more."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits = super().forward(images)
        return logits, logits


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Branches(), "no point through which all passes"),
        (Asks(Plain()), "asks for the numbers of its input"),
        (InPlace(), "gives other logits than as a whole"),
        (TwoOutputs(), "not logits"),
    ],
)
def test_what_cannot_be_cut_says_why(model, words):
    with pytest.raises(CannotBeCutError, match=words):
        Chain.of(model, zeros(16))


def test_a_module_that_asks_for_numbers_stays_whole():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 3, padding=1)
            self.asks = Asks(nn.Conv2d(3, 4, 3, padding=1))
            self.last = nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(self.asks(self.stem(images)).mean((2, 3)))

    chain = Chain.of(Net(), zeros(16))
    assert chain.names == ("stem", "asks")


class Sizes(nn.Module):
    """Uses, behind a cut, sizes and a number of images from before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        table = torch.linspace(0, 1, height, device=images.device)[:, None]
        maps = self.second(self.first(images)) * table
        return self.last(maps.reshape(count * 4, height * width).mean(1).view(count, 4))


def test_sizes_from_before_a_cut_are_known_behind_it():
    network = Sizes().eval()
    chain = Chain.of(network, zeros(8))
    assert chain.names == ("first", "second")
    images = torch.rand(5, 3, 8, 8)
    assert torch.allclose(chain(images), network(images), atol=1e-6)


def test_the_wrong_example_is_named():
    with pytest.raises(ValueError, match=r"example must be images \[N, 3, height, width\], not \[3, 8, 8\]"):
        Chain.of(Plain(), torch.zeros(3, 8, 8))


def test_every_cut_is_a_point_through_which_all_passes():
    """The slow truth: without the node, no way leads from the images to the logits."""
    graph = trace(build("googlenet", init_weights=False), zeros(64))
    pieces = Cutter(graph, 64, 64).pieces()
    assert len(pieces) == 16
    for piece in pieces:
        cut = graph.nodes[piece.last]
        reached, waiting = {graph.images}, [graph.images]
        while waiting:
            for user in waiting.pop().users:
                if user in graph.calls and user is not cut and user not in reached:
                    reached.add(user)
                    waiting.append(user)
        assert graph.output not in reached
