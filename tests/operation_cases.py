"""A small use of every operation that has a rule, by the name under which the engine knows it: x is [N, 3, 6, 6]."""

import torch
import torch.nn.functional as F

from layershap.explain.operations import ELEMENTWISE

POSITIVE = ("sqrt", "rsqrt", "log", "log1p", "reciprocal")


def numbers(x, *shape):
    """Constants that belong to the network."""
    count = torch.Size(shape).numel()
    return torch.linspace(-0.9, 1.1, count, dtype=x.dtype).view(shape)


def elementwise(name):
    function = ELEMENTWISE[name][0]
    if name == "clamp":
        return lambda x: x.clamp(-0.3, 0.8)
    return (lambda x: function(x.abs() + 0.1)) if name in POSITIVE else function


def multi_head(x):
    tokens = x[:, 0].transpose(0, 1)
    weights = numbers(x, 18, 6), numbers(x, 18), None, None, False, 0.0, numbers(x, 6, 6), None
    return F.multi_head_attention_forward(tokens, tokens, tokens, 6, 2, *weights, training=False)[0].transpose(0, 1)


RULES = {
    **{name: elementwise(name) for name in ELEMENTWISE},
    "mul": lambda x: x * x.flip(1),
    "div": lambda x: x / (x.flip(1).abs() + 0.5),
    "rdiv": lambda x: 2 / (x.abs() + 0.5),
    "pow": lambda x: x**3 + x.pow(2),
    "square": torch.square,
    "var": lambda x: (
        x.var(1) + x.var((1, 2), keepdim=True).mean(1) + torch.var(x, 3, unbiased=False, keepdim=True).mean(1)
    ),
    "std": lambda x: x.std((-2, -1)).mean(1, keepdim=True) + torch.std(x, dim=1, correction=0).mean(1),
    "var_mean": lambda x: torch.add(*torch.var_mean(x, dim=1, keepdim=True)),
    "matmul": lambda x: x @ x.mT,
    "rmatmul": lambda x: x.__rmatmul__(x.mT),
    "einsum": lambda x: torch.einsum("bcij,bckj->bcik", x, x * 2 + 1),
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "max": lambda x: torch.max(x, x.flip(1)),
    "min": lambda x: torch.min(x, x.flip(1)),
    "amax": lambda x: x.amax(-1),
    "amin": lambda x: x.amin((1, 3)),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 2),
    "layer_norm": lambda x: F.layer_norm(x, (6,), numbers(x, 6), numbers(x, 6)),
    "standardised": lambda x: F.layer_norm(x, (6, 6)),
    "rms_norm": lambda x: F.rms_norm(x, (6,)),
    "group_norm": lambda x: F.group_norm(x, 3),
    "instance_norm": lambda x: F.instance_norm(x),
    "batch_norm": lambda x: F.batch_norm(x, numbers(x, 3), numbers(x, 3) + 2),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "normalize": lambda x: F.normalize(x),
    "norm": lambda x: torch.norm(x, dim=1),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "linalg_vector_norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "maximum": lambda x: torch.maximum(x, x.flip(1)),
    "minimum": lambda x: torch.minimum(x, x.flip(1)),
    "baddbmm": lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2], beta=0.5),
    "addmm": lambda x: torch.addmm(x[0, 0], x[0, 1], x[0, 2])[None],
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x - 1),
    "multi_head_attention_forward": multi_head,
}

LINEAR_CASES = {
    "conv1d": lambda x: F.conv1d(x[:, :, 0], numbers(x, 2, 3, 3)),
    "conv2d": lambda x: F.conv2d(x, numbers(x, 2, 3, 3, 3)),
    "conv3d": lambda x: F.conv3d(x[:, None], numbers(x, 2, 1, 2, 3, 3)),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, numbers(x, 3, 2, 3, 3)),
    "linear": lambda x: F.linear(x, numbers(x, 4, 6), numbers(x, 4)),
    "add": lambda x: torch.add(x, x.flip(1), alpha=2),
    "sub": lambda x: torch.sub(x, 1),
    "rsub": lambda x: torch.rsub(x, 1),
    "neg": torch.neg,
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "concat": lambda x: torch.concat([x, x * 2], 1),
    "stack": lambda x: torch.stack([x, x * 2], 1),
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(1),
    "flatten": lambda x: x.flatten(1),
    "reshape": lambda x: x.reshape(len(x), -1),
    "view": lambda x: x.view(-1, 108),
    "view_as": lambda x: x.view_as(numbers(x, 1, 108)),
    "permute": lambda x: x.permute(2, 0, 3, 1),
    "transpose": lambda x: x.transpose(0, 1),
    "contiguous": lambda x: x.contiguous(),
    "to": lambda x: x.to(torch.float64),
    "float": lambda x: x.float(),
    "double": lambda x: x.double(),
    "clone": lambda x: x.clone(),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 4, -1, -1),
    "expand_as": lambda x: x[:, :1].expand_as(x),
    "pad": lambda x: F.pad(x, (1, 0, 1, 2)),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 2),
    "chunk": lambda x: x.chunk(3, 1)[1],
    "split": lambda x: torch.split(x, 1, 1)[2],
    "unbind": lambda x: x.unbind(1)[0],
    "narrow": lambda x: x.narrow(2, 1, 3),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 3),
    "avg_pool1d": lambda x: F.avg_pool1d(x[:, 0], 2),
    "avg_pool3d": lambda x: F.avg_pool3d(x[:, None], 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x[:, 0], 2),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x[:, None], 2),
    "unfold": lambda x: F.unfold(x, 2),
    "fold": lambda x: F.fold(F.unfold(x, 2), (6, 6), 2),
    "im2col": lambda x: torch._C._nn.im2col(x, (2, 2), (1, 1), (0, 0), (1, 1)),
    "col2im": lambda x: torch._C._nn.col2im(F.unfold(x, 2), (6, 6), (2, 2), (1, 1), (0, 0), (1, 1)),
    "roll": lambda x: x.roll(1, -1),
    "flip": lambda x: x.flip(-1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "tile": lambda x: x.tile(1, 2, 1, 1),
    "cumsum": lambda x: x.cumsum(-1),
    "unflatten": lambda x: x.unflatten(2, (2, 3)),
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 0])),
    "where": lambda x: torch.where(numbers(x, 6, 6) > 0, x, -x),
    "select": lambda x: x.select(1, 0),
    "split_with_sizes": lambda x: x.split_with_sizes([1, 2], 1)[1],
    "tensor_split": lambda x: x.tensor_split(2, 1)[0],
    "masked_fill": lambda x: x.masked_fill(numbers(x, 6, 6) > 0, -torch.inf),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "tril": lambda x: x.tril(),
    "triu": lambda x: x.triu(),
    "t": lambda x: x[0, 0].t()[None],
    "T": lambda x: x[0, 0].T[None],
    "mT": lambda x: x.mT,
    "moveaxis": lambda x: x.moveaxis(1, 3),
    "swapdims": lambda x: x.swapdims(1, 2),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "movedim": lambda x: x.movedim(0, 2),
    "type_as": lambda x: x.type_as(numbers(x, 1)),
    "type": lambda x: x.type(torch.float64),
    "hstack": lambda x: torch.hstack([x, x * 2]),
    "vstack": lambda x: torch.vstack([x[:, :1].flatten(1), x[:, 1:2].flatten(1)]),
    "broadcast_to": lambda x: x[:, :1].broadcast_to(len(x), 3, 6, 6),
    "reshape_as": lambda x: x.reshape_as(numbers(x, 1, 108)),
    "__getitem__": lambda x: x[:, [0, 2], 1:],
    "__add__": lambda x: x + x.flip(1),
    "__radd__": lambda x: 1 + x,
    "__sub__": lambda x: x - x.flip(1),
    "__rsub__": lambda x: 1 - x,
    "__neg__": lambda x: -x,
}

# torch calls these by another name, as x + y by add
OTHERWISE = {
    "__add__": "add",
    "__radd__": "add",
    "__sub__": "sub",
    "__neg__": "neg",
    "vector_norm": "linalg_vector_norm",
}
UNREACHED = {"identity"}  # torch has no function of that name
