"""What diagnose says of every rule, of broken rules, and of operations without one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layershap.explain import InexactSumError, UnsupportedOperationError, diagnose, explain_layers
from layershap.explain.attention import Bilinear, LogSoftmax, LogSumExp, Softmax
from layershap.explain.composites import COMPOSITES
from layershap.explain.norms import Standardise
from layershap.explain.operations import ELEMENTWISE, LINEAR, SPELLINGS
from layershap.explain.rules import AdaptiveMaxPool, Clamp, Elementwise, Extremes, MaxPool, Product
from layershap.explain.secant import BILINEAR
from nets import Hook, Residual, data, small_chain
from operation_cases import LINEAR_CASES, OTHERWISE, RULES, UNREACHED

CASES = {**RULES, **LINEAR_CASES}


def pair(dtype=torch.float32, shape=(3, 6, 6)):
    """One image and one reference."""
    images, references = data(1, 1, dtype, shape=shape)
    return images[0], references[0]


def reasons(found):
    return {(finding.operation, finding.module): finding.verdict for finding in found.findings}


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_rule_keeps_the_sum(name):
    found = diagnose(Hook(CASES[name]), *pair())
    assert found.exact, str(found)
    assert OTHERWISE.get(name, name) in found.operations
    assert found.gap_float64 < 1e-13


def test_every_name_has_a_case():
    names = {*ELEMENTWISE, *COMPOSITES, *BILINEAR, *LINEAR, *SPELLINGS.values()}
    assert names - UNREACHED <= set(CASES)


def changed(monkeypatch, rule, change):
    original = rule.backward
    monkeypatch.setattr(
        rule,
        "backward",
        staticmethod(lambda ctx, *given: tuple(v if v is None else change(v) for v in original(ctx, *given))),
    )


BROKEN = [
    (Clamp, "relu"),
    (Elementwise, "silu"),
    (MaxPool, "max_pool2d"),
    (AdaptiveMaxPool, "adaptive_max_pool2d"),
    (Extremes, "amax"),
    (Product, "mul"),
    (Softmax, "softmax"),
    (LogSoftmax, "log_softmax"),
    (LogSumExp, "logsumexp"),
    (Bilinear, "einsum"),
    (Standardise, "standardised"),
]


class Inner(nn.Module):
    """An operation below a name of its own."""

    def __init__(self, name):
        super().__init__()
        self.inner = Hook(CASES[name])

    def forward(self, x):
        return self.inner(x * 2).flatten(1) + 1


@pytest.mark.parametrize(("rule", "name"), BROKEN)
def test_a_wrong_rule_is_found_and_its_module_named(rule, name, monkeypatch):
    changed(monkeypatch, rule, lambda value: value * 1.01)
    found = diagnose(Inner(name), *pair())
    operation = "standardised in layer_norm" if name == "standardised" else name
    assert reasons(found) == {(operation, "inner"): "wrong rule"}
    assert found.findings[0].gap_float64 == pytest.approx(found.findings[0].gap_float32, rel=1e-2)


@pytest.mark.parametrize(("rule", "name"), BROKEN)
def test_a_rule_that_rounds_is_told_from_a_wrong_one(rule, name, monkeypatch):
    changed(monkeypatch, rule, lambda v: v.bfloat16().to(v.dtype) if v.dtype == torch.float32 else v)
    found = diagnose(Inner(name), *pair())
    assert set(reasons(found).values()) == {"rounding"}
    assert {finding.module for finding in found.findings} == {"inner"}
    assert found.findings[0].gap_float64 < 1e-13 < found.findings[0].gap_float32


def test_a_name_that_is_wrongly_called_linear_is_found(monkeypatch):
    monkeypatch.setattr("layershap.explain.secant.LINEAR", LINEAR | {"sinh"})
    monkeypatch.setattr("layershap.explain.diagnosis.LINEAR", LINEAR | {"sinh"})
    found = diagnose(Hook(torch.sinh), *pair())
    assert reasons(found) == {("sinh", ""): "wrong rule"}
    assert "should be linear" in str(found)


def with_two_unknown(dtype=torch.float32):
    model = small_chain(dtype=dtype)
    model.layers[0].append(Hook(lambda x: torch.sort(torch.digamma(x.abs() + 1), 1)[0]))
    model.head[2] = Hook(torch.lgamma)
    return model


def test_all_operations_without_a_rule_are_named_at_once():
    found = diagnose(with_two_unknown(), *pair(shape=(2, 8, 8)))
    assert list(reasons(found).items()) == [
        (("digamma", "layers.0.2"), "no rule"),
        (("sort", "layers.0.2"), "no rule"),
        (("lgamma", "head.2"), "no rule"),
    ]
    first, second, *_ = str(found).splitlines()
    assert first.startswith("3 operations break the sum")
    assert "digamma" in second and "module layers.0.2" in second


def test_a_whole_network_is_told_in_one_line():
    found = diagnose(small_chain(dtype=torch.float32), *pair(shape=(2, 8, 8)))
    assert str(found).startswith("every sum agrees: 10 operations, largest relative gap ")
    assert found.gap_float64 < 1e-13 < found.gap_float32 < 1e-4


class Windows(nn.Module):
    """Attention that moves the axis of the images, with a part to be put in."""

    def __init__(self, part):
        super().__init__()
        self.attention, self.part = nn.MultiheadAttention(3, 1), part

    def forward(self, x):
        tokens = x.flatten(2).permute(2, 0, 1)
        return self.part(self.attention(tokens, tokens, tokens)[0]).permute(1, 2, 0)


def test_a_network_that_moves_the_images(monkeypatch):
    torch.manual_seed(0)
    assert diagnose(Windows(nn.GELU()), *pair()).exact
    found = diagnose(Windows(Hook(torch.digamma)), *pair())
    assert reasons(found) == {("digamma", "part"): "no rule"}
    changed(monkeypatch, Softmax, lambda value: value * 1.01)
    found = diagnose(Windows(nn.GELU()), *pair())
    assert reasons(found) == {("softmax in multi_head_attention_forward", "attention"): "wrong rule"}


def no_grad(x):
    with torch.no_grad():
        return x * 2


def items_set(x):
    y = x - 100
    y[:, 1:] = 4.0
    y[:, :1] = x[:, :1].exp()
    return y.sqrt()  # of numbers that were below 0


class Shift(nn.Module):
    """Holds numbers of one precision."""

    def __init__(self):
        super().__init__()
        self.numbers = torch.ones(6, 6)

    def forward(self, x):
        return x @ self.numbers


class Swish(torch.autograd.Function):
    """As some networks have it, hidden from torch function modes by numpy."""

    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.numpy() ** 2) + 0

    @staticmethod
    def backward(ctx, given):
        return given


class Count(nn.Module):
    """Takes another course every other time."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x.exp() if self.calls % 2 else x.tanh()


ODD = {
    "in place": (Residual(3), {}),
    "in place without a rule": (Hook(lambda x: (x + 0).lgamma_().exp()), {("lgamma_", ""): "no rule"}),
    "items set": (Hook(items_set), {}),
    "a mask": (Hook(lambda x: x.masked_fill(torch.eye(6) > 0, -torch.inf).log_softmax(-1)), {}),
    "a constant that is no buffer": (Shift(), {}),
    "changed memory": (
        Hook(lambda x: (lambda y: (y[:, :1].relu_(), y * 1)[1])(x + 0)),
        {("an in-place operation", ""): "no rule"},
    ),
    "no grad": (Hook(no_grad), {("mul", ""): "no rule"}),
    "detached": (Hook(lambda x: x.detach()), {("detach", ""): "no rule"}),
    "a norm of another order": (Hook(lambda x: F.normalize(x, p=3)), {("normalize", ""): "no rule"}),
    "inside of another": (
        Hook(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)),
        {("scaled_dot_product_attention", ""): "no rule"},
    ),
    "values for a dtype": (Hook(lambda x: x + torch.ones(6, dtype=torch.float64).to(x)), {}),
    "a condition": (Hook(lambda x: x * 2 if x.sum() > 0 else -x), {("gt", ""): "no rule"}),
    "another course": (Count(), {("tanh", ""): "no rule"}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_networks(name):
    model, expected = ODD[name]
    found = diagnose(nn.Sequential(model), *pair())
    assert reasons(found) == {(operation, "0"): verdict for (operation, _), verdict in expected.items()}, str(found)


def test_an_operation_that_torch_does_not_show_is_named():
    found = diagnose(nn.Sequential(nn.ReLU(), Hook(Swish.apply), nn.Tanh()), *pair())
    assert {finding.module for finding in found.findings} == {"1"}, str(found)


def test_the_model_stays_as_it_was_and_the_answer_is_the_same():
    model = with_two_unknown().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (diagnose(model, *pair(shape=(2, 8, 8))) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(value, before[name]) and value.dtype == before[name].dtype
        for name, value in model.state_dict().items()
    )
    assert all(
        module.training and not module._forward_hooks and not module._forward_pre_hooks for module in model.modules()
    )
    assert all(value.requires_grad for value in model.parameters())


def test_a_model_of_one_precision_alone():
    constant = torch.ones(6, 6)
    found = diagnose(Hook(lambda x: x @ constant), *pair())
    assert [finding.verdict for finding in found.findings] == ["unknown"]
    assert "does not run in float64" in str(found)


def test_images_may_have_a_batch_axis():
    image, reference = pair()
    assert diagnose(Hook(torch.tanh), image[None], reference).exact


@pytest.mark.parametrize("reference", [torch.zeros(3, 5, 5), torch.ones(3, 6, 6), torch.zeros(2, 3, 6, 6)])
def test_images_that_do_not_fit_are_refused(reference):
    with pytest.raises(ValueError, match="two different images of one shape"):
        diagnose(Hook(torch.tanh), torch.ones(3, 6, 6), reference)


def test_errors_point_here(monkeypatch):
    with pytest.raises(UnsupportedOperationError, match=r"digamma.*explain\.diagnose\(model, image, reference\)"):
        explain_layers(with_two_unknown(torch.float64), *data())
    changed(monkeypatch, Clamp, lambda value: value * 1.5)
    with pytest.raises(InexactSumError, match=r"explain\.diagnose\(model, image, reference\)"):
        explain_layers(small_chain(), *data())
