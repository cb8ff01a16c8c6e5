"""What people do to the engine: threads, low precision, inference mode, odd layers, many segments, many images."""

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from layershap.explain import (
    Chain,
    ToleranceNotMetWarning,
    UnsupportedOperationError,
    explain_each,
    explain_layers,
)
from layershap.explain import layers as engine
from layershap.explain.full_precision import SETTINGS
from nets import Hook, data, small_chain


def state(model):
    return (
        [module.training for module in model.modules()],
        [(id(value), value.requires_grad, value.grad) for value in model.parameters()],
    )


@pytest.mark.parametrize("path", ["layer", "image"])
def test_ten_threads_give_equal_values_and_leave_the_model_as_it_was(path):
    model, (images, references) = small_chain().train(), data()
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    alone = explain_layers(model, images, references, path=path, segments=8)
    together, errors, start = [], [], threading.Barrier(10)

    def explain():
        try:
            start.wait()
            together.extend(explain_layers(model, images, references, path=path, segments=8) for _ in range(5))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=explain) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(together) == 50
    for found in together:
        for name in model.names:
            assert torch.equal(found[name].heatmap, alone[name].heatmap)
    assert state(model) == before


def test_a_model_is_trained_while_another_thread_explains_it():
    model, (images, references) = small_chain().train(), data()
    stop = threading.Event()

    def explain():
        while not stop.is_set():
            explain_layers(model, images, references)

    thread = threading.Thread(target=explain)
    thread.start()
    for _ in range(20):
        model.zero_grad()
        model(images).sum().backward()
        assert model.training
        assert all(value.grad is not None for value in model.parameters())
    stop.set()
    thread.join()


def test_a_model_that_cannot_be_copied_is_named():
    model = small_chain()
    model.head.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"cannot be copied.*lock"):
        explain_layers(model, *data())


@pytest.mark.parametrize("fails", [False, True])
def test_float32_is_not_computed_in_less_inside_and_is_as_before_afterwards(fails):
    seen = []

    def look(x):
        seen.append([setting.fp32_precision for setting in SETTINGS])
        if fails:
            raise RuntimeError("a layer of the user's")
        return x

    model = small_chain(dtype=torch.float32)
    model.layers[0].append(Hook(look))
    torch.set_float32_matmul_precision("medium")  # TF32 on a GPU, bfloat16 on some processors
    before = [setting.fp32_precision for setting in SETTINGS]
    try:
        if fails:
            with pytest.raises(RuntimeError, match="of the user's"):
                explain_layers(model, *data(dtype=torch.float32))
        else:
            for _ in explain_each(model, *data(dtype=torch.float32)):
                assert [setting.fp32_precision for setting in SETTINGS] == before
        assert [setting.fp32_precision for setting in SETTINGS] == before
        assert "ieee" not in before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert {value for row in seen for value in row} == {"ieee"}


@pytest.mark.parametrize("path", ["layer", "image"])
def test_autocast_outside_changes_nothing(path):
    model, (images, references) = small_chain(dtype=torch.float32), data(dtype=torch.float32)
    expected = explain_layers(model, images, references, path=path)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explain_layers(model, images, references, path=path)
        assert torch.is_autocast_enabled("cpu")
    for name in model.names:
        assert torch.equal(found[name].heatmap, expected[name].heatmap)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_inference_mode_outside_changes_nothing(path):
    expected = explain_layers(small_chain(), *data(), path=path)
    with torch.inference_mode():
        model = small_chain()  # its weights are tensors of inference mode, too
        found = explain_layers(model, *data(), path=path)
        assert torch.is_inference_mode_enabled()
    for name in model.names:
        assert torch.equal(found[name].heatmap, expected[name].heatmap)


def with_layer(function):
    """Return the small chain with a function after its second convolution."""
    model = small_chain()
    return Chain([*zip(model.names, model.layers, strict=True), ("odd", Hook(function))], model.head)


def with_head(function):
    model = small_chain()
    return Chain(list(zip(model.names, model.layers, strict=True)), nn.Sequential(model.head, Hook(function)))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (with_layer(lambda x: (x, x)), "layer 'odd' gives a tuple"),
        (with_layer(lambda x: {"out": x}), "layer 'odd' gives a dict"),
        (with_layer(lambda x: x.flatten(1)), r"layer 'odd' gives \[4, 12\], not maps"),
        (with_layer(lambda x: x[0]), r"layer 'odd' gives \[3, 2, 2\], not maps"),
        (with_head(lambda x: x[:, :, None, None]), r"the head must give logits \[4, classes\], not \[4, 2, 1, 1\]"),
        (with_head(lambda x: x[:, 0]), r"the head must give logits \[4, classes\], not \[4\]"),
        (with_head(lambda x: (x, x)), "the head must give logits .* not a tuple"),
    ],
)
def test_what_is_no_map_and_no_logit_is_named_in_one_sentence(model, expected):
    with pytest.raises(ValueError, match=expected):
        explain_layers(model, *data())


def test_a_layer_without_maps_may_be_passed():
    model = small_chain()
    flat = Chain([*zip(model.names, model.layers, strict=True), ("flat", nn.Flatten())], model.head[1:])
    expected = explain_layers(model, *data())
    found = explain_layers(flat, *data(), layers=model.names)
    assert torch.equal(found["conv1"].heatmap, expected["conv1"].heatmap)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_refused_in_one_sentence(dtype):
    with pytest.raises(ValueError, match=f"images must be float32 or float64, not {dtype}"):
        explain_layers(small_chain(dtype=dtype), *data(dtype=dtype))
    with pytest.raises(ValueError, match=f"layers.0.0.weight and images differ: {dtype} on cpu"):
        explain_layers(small_chain(dtype=dtype), *data())


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner = inner
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("path", ["layer", "image"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_modules_are_named(reentrant, path):
    model = small_chain()
    model.layers[2] = Checkpointed(model.layers[2], reentrant)
    with pytest.raises(UnsupportedOperationError, match="checkpoint"):
        explain_layers(model, *data(), path=path)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_lines_in_pieces_give_the_same(path, monkeypatch):
    model, (images, references) = small_chain(), data()
    whole = explain_layers(model, images, references, path=path, segments=50, keep_features=True)
    monkeypatch.setattr(engine, "LAYER_ELEMENTS", 1)
    monkeypatch.setattr(engine, "IMAGE_ELEMENTS", 1)
    pieces = explain_layers(model, images, references, path=path, segments=50, keep_features=True)
    for name in model.names:
        for part in ("heatmap", "standard_error", "features", *(("own", "reference") if path == "layer" else ())):
            torch.testing.assert_close(getattr(pieces[name], part), getattr(whole[name], part), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", ["layer", "image"])
def test_points_followed_at_once_do_not_grow_with_segments(path, monkeypatch):
    model, (images, references) = small_chain(), data(count=1)
    rows = []
    model.layers[2].append(Hook(lambda x: rows.append(len(x)) or x))
    monkeypatch.setattr(engine, "LAYER_ELEMENTS", 1)
    monkeypatch.setattr(engine, "IMAGE_ELEMENTS", 1)
    explain_layers(model, images, references, path=path, segments=500)
    assert max(rows) <= 8


class Steep(nn.Module):
    """A function that lines of few segments do not follow."""

    def forward(self, x):
        """Return a saw of many teeth."""
        return torch.sigmoid(60 * x) * torch.tanh(40 * x - 9)


@pytest.mark.parametrize(("segments", "largest"), [(4, 256), (128, 256), (200, 400), (300, 600)])
@pytest.mark.parametrize("path", ["layer", "image"])
def test_a_tolerance_that_is_not_met_is_tried_and_told(path, segments, largest):
    model, (images, references) = small_chain(), data(count=1)
    model.head.insert(1, Steep())
    with pytest.warns(ToleranceNotMetWarning, match=f"conv1 changes by .* to {largest} segments.* 1e-12 is not met"):
        found = explain_layers(model, images, references, path=path, segments=segments, tolerance=1e-12)
    assert found["conv1"].segments == largest
    assert 1e-12 < found["conv1"].change < 1


def test_a_tolerance_that_is_met_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain_layers(small_chain(), *data(), segments=128, tolerance=0.05)
    assert found["conv1"].change <= 0.05


def test_memory_does_not_grow_with_the_number_of_images():
    model, (_, references) = small_chain(), data(references=50)
    images = data(count=60)[0]
    kept = []
    rows = iter(explain_each(model, images, references, path="image", segments=1))
    for number, found in enumerate(rows):
        assert found["conv1"].heatmap.shape == (1, 8, 8)
        if number in (5, 55):
            kept.append(sum(1 for _ in living_tensors()))
    assert kept[1] <= kept[0]


def living_tensors():
    import gc

    gc.collect()
    return (thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor))


def test_the_sum_of_many_images_keeps_no_map_of_a_single_reference():
    """1000 images x 100 references would be tens of gigabytes."""
    found = explain_layers(small_chain(), *data(count=4, references=30), segments=1)["conv1"]
    assert found.by_reference is None
    assert found.heatmap.untyped_storage().nbytes() == found.heatmap.nbytes
    assert found.standard_error.untyped_storage().nbytes() == found.standard_error.nbytes


def test_each_image_alone_is_as_all_together():
    model, (images, references) = small_chain(), data()
    together = explain_layers(model, images, references)
    for number, alone in enumerate(explain_each(model, images, references)):
        for name in model.names:
            assert torch.equal(alone[name].heatmap[0], together[name].heatmap[number])


def test_arguments_of_explain_each_are_refused_at_once():
    with pytest.raises(ValueError, match="segments"):
        explain_each(small_chain(), *data(), segments=0)
