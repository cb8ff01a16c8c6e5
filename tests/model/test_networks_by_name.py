"""Networks by their own names: found, built, cut, and refused with a way out."""

import sys

import pytest
import torch
from torch import nn

from layershap.model.classifier import Description, build_classifier, load_classifier, save_classifier
from layershap.model.networks import (
    build_backbone,
    build_network,
    check_model,
    check_name,
    image_size,
    input_of,
    merged,
)
from layershap.model.timm_networks import timm
from layershap.torchvision_guard import torchvision
from layershap.workspace.errors import InputError, SettingsError
from layershap.workspace.params import Model

OWN = """
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, 2))

build.mean, build.std, build.image_size = (0.1, 0.2, 0.3), (1, 2, 3), 20


def configured():
    network = build()
    network.default_cfg = {"input_size": (3, 24, 24), "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return network


def silent():
    return build()


def sized(image_size=16):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * image_size ** 2, 2))


def one_size():
    return sized(16)

one_size.image_size = 16


class Asking(nn.Module):
    def forward(self, images):
        return images if float(images.sum()) > 0 else -images


def asking():
    return Asking()


def nothing():
    return 3

wrong_mean = lambda: build()
wrong_mean.mean = 0.5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the name of a module in the project's folder, which nothing else has imported."""
    name = f"networks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def features(backbone, images):
    for _, module in backbone.layers:
        images = module(images)
    return images


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet5o", "near: .*resnet50"),
        ("convnext_atto", "near: timm/convnext_atto,"),
        ("timm/convnext_ato", "near: .*timm/convnext_atto"),
        ("timm/convnext_tiny.nonsense", r"near: .*timm/convnext_tiny\.in12k_ft_in1k"),
        ("convnext_tiny.in12k_ft_in1k", r"near: .*timm/convnext_tiny\.in12k_ft_in1k"),
        ("efficientnet_lite3", "near: .*efficientnet_lite2"),
        ("zzzzqqqq", "no name is like it"),
        ("nobody.here:build", "no module nobody.here; nobody must be in"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name, expected):
    with pytest.raises(SettingsError, match=expected):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["resnet50", "vgg19", "timm/convnext_atto", "timm/convnext_tiny.in12k_ft_in1k", "alexnet"]
)
def test_names_that_there_are(name):
    check_name(name)


def test_a_function_that_is_not_there(own):
    with pytest.raises(SettingsError, match=r"no function bild; near: .*build"):
        check_name(f"{own}:bild")


def test_a_module_that_needs_another(own, tmp_path):
    (tmp_path / f"{own}_needs.py").write_text("import not_installed_anywhere")
    with pytest.raises(SettingsError, match="needs not_installed_anywhere, which is not installed"):
        check_name(f"{own}_needs:build")


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [
        ("efficientnet_lite1", 240, 0.5),
        ("vgg19", 224, 0.485),
        ("efficientnet_b1", 240, 0.485),
        ("inception_v3", 299, 0.485),
        ("timm/vit_tiny_patch16_224", 224, 0.5),
        ("timm/tf_efficientnet_b4", 380, 0.485),
        ("timm/convnext_nano.in12k", 224, 0.485),
    ],
)
def test_size_and_normalisation_are_the_networks_own(name, size, mean):
    found = input_of(name)
    assert (found.size, found.mean[0]) == (size, mean)
    assert image_size(name, None) == size
    assert image_size(name, 64) == 64


def test_size_and_normalisation_of_a_function(own):
    found = input_of(f"{own}:build")
    assert (found.size, found.mean, found.std) == (20, (0.1, 0.2, 0.3), (1, 2, 3))
    assert build_backbone(f"{own}:build", "own").mean == (0.1, 0.2, 0.3)
    found = input_of(f"{own}:configured")
    assert (found.size, found.mean[0], found.std[0]) == (24, 0.5, 0.2)
    assert build_backbone(f"{own}:configured", "own").std == (0.2, 0.2, 0.2)
    with pytest.raises(SettingsError, match=r"model\.image_size: .*silent names no size of its own"):
        image_size(f"{own}:silent", None)
    with pytest.raises(SettingsError, match=r"mean of .* must be three numbers, not 0\.5"):
        input_of(f"{own}:wrong_mean")


def test_a_network_that_takes_one_size_alone(own):
    backbone = build_backbone(f"{own}:one_size", "own", 16)
    assert [name for name, _ in backbone.layers] == ["0"]
    with pytest.raises(SettingsError, match=r"model\.image_size: .* takes no images of 20 x 20 .* its own, 16"):
        build_backbone(f"{own}:one_size", "own", 20)
    # one that asks for the size is given it
    assert features(build_backbone(f"{own}:sized", "own", 20), torch.rand(1, 3, 20, 20)).shape == (1, 4, 20, 20)


def test_timm_builds_a_transformer_for_another_size():
    backbone = build_backbone("timm/vit_tiny_patch16_224", "random", 64)
    with torch.no_grad():
        assert features(backbone, torch.rand(2, 3, 64, 64)).shape == (2, 17, 192)


def test_a_network_that_keeps_what_it_computed_is_cut_as_well():
    backbone = build_backbone("timm/levit_128s", "random", 64)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(features(backbone, images), features(backbone, images))


def test_what_cannot_be_cut_is_refused_with_the_reason(own):
    with pytest.raises(
        SettingsError, match=r"asking cannot be cut into layers: Asking as a whole asks for the numbers"
    ):
        build_backbone(f"{own}:asking", "own", 16)
    with pytest.raises(SettingsError, match=r"returns a int, not a torch\.nn\.Module"):
        build_backbone(f"{own}:nothing", "own", 16)


def test_the_last_layer_takes_the_norm_that_its_weights_were_trained_for():
    torch.manual_seed(0)
    backbone = build_backbone("timm/vit_tiny_patch16_224", "random", 32)
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(features(backbone, images), network.forward_features(images))
    torch.manual_seed(0)
    backbone = build_backbone("densenet121", "random", 64)
    torch.manual_seed(0)
    network = torchvision.models.densenet121().eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(features(backbone, images), network.features(images).relu(), rtol=1e-3, atol=1e-5)


def test_chosen_layers_change_no_number():
    for name in ("resnet18", "timm/convnext_atto"):
        torch.manual_seed(0)
        whole = build_backbone(name, "random", 64)
        chosen = [whole.layers[2][0], whole.layers[5][0]]
        torch.manual_seed(0)
        merged_ = build_backbone(name, "random", 64, chosen)
        assert [name for name, _ in merged_.layers] == [*chosen, whole.layers[-1][0]]
        images = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(features(merged_, images), features(whole, images))
    with pytest.raises(SettingsError, match=r"model\.layers: 'stagez\.\*' fits none of .*stages"):
        merged(whole.layers, ["stages.*", "stagez.*"])


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "resnet50", "own"])
def test_saved_and_loaded_it_is_the_same(name, own, tmp_path):
    name, weights = (f"{own}:build", "own") if name == "own" else (name, "random")
    description = Description(name, 32, ["a", "b"], 1, [8], 0.5, None if weights == "own" else ["*1*"])
    torch.manual_seed(3)
    model = build_classifier(description, weights)
    save_classifier(model, description, tmp_path / "model.pt", tmp_path / "model.json")
    loaded, found = load_classifier(tmp_path / "model.pt", tmp_path / "model.json")
    assert found == description
    assert loaded.names == model.names
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))


def settings(**changed) -> Model:
    usual = {"backbone": "resnet50", "code": "src", "weights": "random", "image_size": None, "layers": None}
    return Model(**{**usual, "unfreeze": 0, **changed})


def test_settings_are_checked_as_a_whole(own, tmp_path):
    check_model(settings())
    with pytest.raises(SettingsError, match=r"model\.weights: own is for a function of your own"):
        check_model(settings(weights="own"))
    with pytest.raises(SettingsError, match=rf"model\.code: .* set it to {own}\.py, not src"):
        check_model(settings(backbone=f"{own}:build"))
    check_model(settings(backbone=f"{own}:build", code=f"{own}.py", weights="own"))
    check_model(settings(backbone=f"{own}:build", code="."))


def test_random_draws_the_weights_of_a_function_anew(own):
    torch.manual_seed(0)
    given = build_network(f"{own}:build", "own").module[0].weight
    torch.manual_seed(0)
    drawn = build_network(f"{own}:build", "random").module[0].weight
    assert not torch.equal(given, drawn)
    with pytest.raises(SettingsError, match=r"imagenet is not known of .*; set own"):
        build_network(f"{own}:build", "imagenet")


def test_a_file_for_a_function_may_lack_its_classifier_alone(own, tmp_path):
    network = build_network(f"{own}:build", "own").module
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("5.")}
    torch.save(state, tmp_path / "weights.pt")
    backbone = build_backbone(f"{own}:build", str(tmp_path / "weights.pt"))
    assert isinstance(network[0], nn.Conv2d)
    images = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(features(backbone, images), network[:3](images))
    torch.save({"5.weight": network[5].weight}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt is not a state dict of .*:build: it lacks 0\.weight"):
        build_backbone(f"{own}:build", str(tmp_path / "weights.pt"))
