"""A whole vision transformer with one segment, against the rules written slowly from their formulas."""

import math

import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from nets import ClassToken, Hook, data

WIDTH, HEADS, HIDDEN = 6, 2, 10
EPS = 1e-5


class Attention(nn.Module):
    """Queries, keys and values of every head, by torch's own operation."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        """Return [N, T, C]."""
        count, tokens, _ = x.shape
        query, key, value = self.qkv(x).reshape(count, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).reshape(count, tokens, WIDTH))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, EPS), nn.LayerNorm(WIDTH, EPS)
        self.attention = Attention()
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        """Return [N, T, C]."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    layers = [("patches", nn.Conv2d(3, WIDTH, 4, 4)), ("tokens", ClassToken(WIDTH)), ("one", Block()), ("two", Block())]
    head = nn.Sequential(nn.LayerNorm(WIDTH, EPS), Hook(lambda x: x[:, 0]), nn.Linear(WIDTH, 2))
    model = Chain(layers, head).double().eval()
    for value in model.parameters():  # far from where a network begins: every part counts
        nn.init.normal_(value, std=0.7)
    return model.requires_grad_(False)


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def table(tensor):
    return tensor.tolist()


def times(matrix, vector):
    """Return a weight [out, in] times a vector."""
    return [dot(row, vector) for row in matrix]


def back(matrix, given):
    """Return what a linear layer of that weight brings back: its transpose times the multipliers."""
    return [dot(column, given) for column in zip(*matrix, strict=True)]


def plus(*vectors):
    return [sum(values) for values in zip(*vectors, strict=True)]


class Slow:
    """A network of one head of the formulas: values of one picture, in lists of tokens of numbers."""

    def __init__(self, model):
        self.weights = {name: table(value) for name, value in model.named_parameters()}

    def linear(self, name, token):
        return plus(times(self.weights[f"{name}.weight"], token), self.weights[f"{name}.bias"])

    def linear_back(self, name, given):
        return back(self.weights[f"{name}.weight"], given)

    def norm(self, name, token):
        mean = sum(token) / len(token)
        centred = [value - mean for value in token]
        root = math.sqrt(dot(centred, centred) / len(token) + EPS)
        scaled = [value / root for value in centred]
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [w * value + b for w, value, b in zip(weight, scaled, bias, strict=True)], (centred, root)

    def norm_back(self, name, start, end, given):
        """M_k = u_bar g_k - 2 / (n r r' (r + r')) c_bar_k sum_i g_i c_bar_i, m = M - mean(M)."""
        (c, r), (d, s) = start, end
        g = [w * value for w, value in zip(self.weights[f"{name}.weight"], given, strict=True)]
        middle = [(a + b) / 2 for a, b in zip(c, d, strict=True)]
        n, total = len(g), dot(g, middle)
        every = [(1 / r + 1 / s) / 2 * g[k] - 2 / (n * r * s * (r + s)) * middle[k] * total for k in range(n)]
        return [value - sum(every) / n for value in every]

    def heads(self, token):
        """Return a token's queries, keys or values by head."""
        size = WIDTH // HEADS
        return [token[head * size : (head + 1) * size] for head in range(HEADS)]

    def block(self, name, tokens):
        """Return a block's output, and all that it met on the way."""
        met = {}
        normed, met["norm1"] = zip(*(self.norm(f"{name}.norm1", token) for token in tokens), strict=True)
        qkv = [self.linear(f"{name}.attention.qkv", token) for token in normed]
        for place, what in enumerate("qkv"):
            met[what] = [self.heads(token[place * WIDTH : (place + 1) * WIDTH]) for token in qkv]
        scale = (WIDTH // HEADS) ** -0.5
        count = range(len(tokens))
        met["p"] = []
        for head in range(HEADS):
            logits = [[scale * dot(met["q"][i][head], met["k"][j][head]) for j in count] for i in count]
            met["p"].append([[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in logits])
        mixed = []
        for i in count:
            token = []
            for head in range(HEADS):
                columns = zip(*(met["v"][j][head] for j in count), strict=True)
                token += [dot(met["p"][head][i], column) for column in columns]
            mixed.append(token)
        attended = [self.linear(f"{name}.attention.out", token) for token in mixed]
        tokens = [plus(a, b) for a, b in zip(tokens, attended, strict=True)]
        normed, met["norm2"] = zip(*(self.norm(f"{name}.norm2", token) for token in tokens), strict=True)
        met["up"] = [self.linear(f"{name}.up", token) for token in normed]
        bent = [[gelu(value) for value in token] for token in met["up"]]
        down = [self.linear(f"{name}.down", token) for token in bent]
        return [plus(a, b) for a, b in zip(tokens, down, strict=True)], met

    def block_back(self, name, start, end, given):
        """Return the multipliers of a block's input from those of its output; start, end: what both pictures met."""
        bent = [self.linear_back(f"{name}.down", g) for g in given]
        up = [
            [g * (gelu(b) - gelu(a)) / (b - a) for g, a, b in zip(*both, strict=True)]
            for both in zip(bent, start["up"], end["up"], strict=True)
        ]
        normed = [self.linear_back(f"{name}.up", g) for g in up]
        given = [
            plus(g, self.norm_back(f"{name}.norm2", a, b, m))
            for g, a, b, m in zip(given, start["norm2"], end["norm2"], normed, strict=True)
        ]
        mixed = [self.heads(self.linear_back(f"{name}.attention.out", g)) for g in given]
        back_to = self.attention_back(start, end, mixed)
        normed = [self.linear_back(f"{name}.attention.qkv", token) for token in back_to]
        return [
            plus(g, self.norm_back(f"{name}.norm1", a, b, m))
            for g, a, b, m in zip(given, start["norm1"], end["norm1"], normed, strict=True)
        ]

    def attention_back(self, start, end, given):
        """Return the multipliers [tokens, 3 * WIDTH] of queries, keys and values; `given`: [tokens][heads][size]."""
        count, size, scale = range(len(given)), WIDTH // HEADS, (WIDTH // HEADS) ** -0.5

        def mean(what, token, head):
            return [(a + b) / 2 for a, b in zip(start[what][token][head], end[what][token][head], strict=True)]

        found = [[0.0] * (3 * WIDTH) for _ in count]
        for head in range(HEADS):
            first = head * size
            for i in count:
                p, q = start["p"][head][i], end["p"][head][i]
                # the product of probabilities and values
                to_p = [dot(given[i][head], mean("v", j, head)) for j in count]
                for j in count:
                    for c in range(size):
                        found[j][2 * WIDTH + first + c] += (p[j] + q[j]) / 2 * given[i][head][c]
                # softmax: m_i = L_i (g_i - G), G = sum(g L) / sum(L)
                share = [(b - a) / (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True)]
                centre = dot(to_p, share) / sum(share)
                to_logit = [m * (g - centre) for m, g in zip(share, to_p, strict=True)]
                # the product of queries and keys
                for j in count:
                    for c in range(size):
                        found[i][first + c] += scale * to_logit[j] * mean("k", j, head)[c]
                        found[j][WIDTH + first + c] += scale * to_logit[j] * mean("q", i, head)[c]
        return found

    def follow(self, tokens):
        """Return the tokens after each layer, and what blocks and the head's norm met."""
        one, met_one = self.block("layers.2", tokens)
        two, met_two = self.block("layers.3", one)
        return [tokens, one, two], [met_one, met_two], self.norm("head.0", two[0])[1]

    def multipliers(self, start, end):
        """Return the multipliers of the tokens after each layer, for class 1 minus class 0."""
        (tokens, first_met, first_norm), (_, last_met, last_norm) = self.follow(start), self.follow(end)
        given = back(self.weights["head.2.weight"], [-1.0, 1.0])
        at_two = [self.norm_back("head.0", first_norm, last_norm, given)]
        at_two += [[0.0] * WIDTH for _ in tokens[0][1:]]
        at_one = self.block_back("layers.3", first_met[1], last_met[1], at_two)
        return [self.block_back("layers.2", first_met[0], last_met[0], at_one), at_one, at_two]


def gelu(value):
    return value * (1 + math.erf(value / math.sqrt(2))) / 2


@pytest.mark.parametrize("path", ["layer", "image"])
def test_one_segment_is_the_rules_written_slowly(model, path):
    images, references = data(count=1, references=2, shape=(3, 8, 8))
    slow = Slow(model)
    tokens = [table(model.features(pictures, stop=2)) for pictures in (images, references)]
    result = explain_layers(model, images, references, path=path, segments=1, keep_features=True)
    expected = torch.zeros(3, 5, WIDTH, dtype=torch.float64)
    for reference in tokens[1]:
        steps = zip(slow.follow(reference)[0], slow.follow(tokens[0][0])[0], strict=True)
        for layer, ((start, end), given) in enumerate(
            zip(steps, slow.multipliers(reference, tokens[0][0]), strict=True)
        ):
            step = torch.tensor(end, dtype=torch.float64) - torch.tensor(start, dtype=torch.float64)
            expected[layer] += torch.tensor(given, dtype=torch.float64) * step / 2
    for name, values in zip(["tokens", "one", "two"], expected, strict=True):
        found = result[name]
        torch.testing.assert_close(found.features[0], values, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.heatmap[0].flatten(), values[1:].sum(1), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.prefix[0], values[0].sum(), rtol=1e-10, atol=1e-10)
        assert float(values[1:].abs().sum()) > 0.1 or name == "two"  # there the class token alone counts
    # a patch is its token less the class token before it: the same values
    patches = result["patches"].features[0].flatten(1).mT
    torch.testing.assert_close(patches, expected[0, 1:], rtol=1e-10, atol=1e-10)
