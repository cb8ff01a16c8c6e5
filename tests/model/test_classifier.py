import pytest
import torch

from layershap.model.classifier import (
    Description,
    boundary,
    build_classifier,
    layer_table,
    load_classifier,
    save_classifier,
)
from layershap.model.heads import build_head

# the paper's table for VGG19 at 224 x 224 (channels first)
VGG19 = [
    (1, "Input", [3, 224, 224]),
    (2, "Conv", [64, 224, 224]), (3, "Conv", [64, 224, 224]), (4, "Pool", [64, 112, 112]),
    (5, "Conv", [128, 112, 112]), (6, "Conv", [128, 112, 112]), (7, "Pool", [128, 56, 56]),
    (8, "Conv", [256, 56, 56]), (9, "Conv", [256, 56, 56]), (10, "Conv", [256, 56, 56]), (11, "Conv", [256, 56, 56]),
    (12, "Pool", [256, 28, 28]),
    (13, "Conv", [512, 28, 28]), (14, "Conv", [512, 28, 28]), (15, "Conv", [512, 28, 28]), (16, "Conv", [512, 28, 28]),
    (17, "Pool", [512, 14, 14]),
    (18, "Conv", [512, 14, 14]), (19, "Conv", [512, 14, 14]), (20, "Conv", [512, 14, 14]), (21, "Conv", [512, 14, 14]),
    (22, "Pool", [512, 7, 7]),
    (23, "Flatten", [25088]), (24, "Dense", [64]), (25, "Dropout", [64]), (26, "Dense", [2]),
]  # fmt: skip

SMALL = Description("efficientnet_lite0", 64, ["a", "b", "c"], 0, [8], 0.5)


def test_vgg19_has_the_papers_26_layers():
    model = build_classifier(Description("vgg19", 224, ["cat", "dog"], 0, [64], 0.5), "random")
    assert [(row["number"], row["type"], row["shape"]) for row in layer_table(model, 224)] == VGG19


def test_the_head_is_the_papers():
    kinds = [type(module).__name__ for module in build_head([10, 3, 3], 0, [64], 0.5, 2)]
    assert kinds == ["Flatten", "Sequential", "Dropout", "Linear"]
    assert [type(module).__name__ for module in build_head([10, 3, 3], 2, [], 0.0, 2)] == [
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    torch.manual_seed(3)
    model = build_classifier(SMALL, "random")
    paths = tmp_path / "model.pt", tmp_path / "model.json"
    save_classifier(model, SMALL, *paths)
    loaded, description = load_classifier(*paths)
    assert description == SMALL
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.pt"]
    before = paths[0].read_bytes()
    save_classifier(loaded, SMALL, *paths)
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize(("unfreeze", "expected"), [(0, 18), (3, 15), (18, 0), (99, 0)])
def test_boundary(unfreeze, expected):
    assert boundary(build_classifier(SMALL, "random"), unfreeze) == expected
