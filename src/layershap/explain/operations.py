"""The operations that the secant rule knows, by the names under which torch calls them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

DIAGNOSE = "layershap.explain.diagnose(model, image, reference) names the module"


class UnsupportedOperationError(NotImplementedError):
    """The network uses an operation for which no exact rule is known."""

    def __str__(self) -> str:
        return f"{super().__str__()}; {DIAGNOSE}"


# elementwise functions by the names under which torch calls them, and their kind: smooth; kinked, that is piecewise
# linear; clamp, that is the identity between two bounds and constant outside
ELEMENTWISE: dict[str, tuple[Callable[..., Tensor], str]] = {
    "relu": (F.relu, "clamp"),
    "relu6": (F.relu6, "clamp"),
    "hardtanh": (F.hardtanh, "clamp"),
    "leaky_relu": (F.leaky_relu, "kinked"),
    "clamp": (torch.clamp, "clamp"),
    "abs": (torch.abs, "kinked"),
    "elu": (F.elu, "smooth"),
    "selu": (F.selu, "smooth"),
    "celu": (F.celu, "smooth"),
    "silu": (F.silu, "smooth"),
    "mish": (F.mish, "smooth"),
    "gelu": (F.gelu, "smooth"),
    "softplus": (F.softplus, "smooth"),
    "sigmoid": (torch.sigmoid, "smooth"),
    "log_sigmoid": (F.logsigmoid, "smooth"),
    "hardsigmoid": (F.hardsigmoid, "kinked"),
    "hardswish": (F.hardswish, "smooth"),
    "tanh": (torch.tanh, "smooth"),
    "exp": (torch.exp, "smooth"),
    "sqrt": (torch.sqrt, "smooth"),
    "rsqrt": (torch.rsqrt, "smooth"),
    "reciprocal": (torch.reciprocal, "smooth"),
    "log": (torch.log, "smooth"),
    "log1p": (torch.log1p, "smooth"),
    "expm1": (torch.expm1, "smooth"),
    "erf": (torch.erf, "smooth"),
    "sin": (torch.sin, "smooth"),
    "cos": (torch.cos, "smooth"),
    "softsign": (F.softsign, "smooth"),
}

# linear in the one argument that depends on the path: autograd's own gradient is exact
LINEAR = frozenset(
    [
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose2d",
        "linear",
        "add",
        "sub",
        "rsub",
        "neg",
        "cat",
        "concat",
        "stack",
        "mean",
        "sum",
        "flatten",
        "reshape",
        "view",
        "view_as",
        "permute",
        "transpose",
        "contiguous",
        "to",
        "float",
        "double",
        "clone",
        "unsqueeze",
        "squeeze",
        "expand",
        "expand_as",
        "pad",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "chunk",
        "split",
        "unbind",
        "narrow",
        "interpolate",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "avg_pool1d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool3d",
        "unfold",
        "fold",
        "im2col",
        "col2im",
        "roll",
        "flip",
        "repeat",
        "repeat_interleave",
        "tile",
        "cumsum",
        "unflatten",
        "index_select",
        "where",
        "select",
        "split_with_sizes",
        "tensor_split",
        "masked_fill",
        "diagonal",
        "tril",
        "triu",
        "t",
        "T",
        "mT",
        "moveaxis",
        "swapdims",
        "type_as",
        "type",
        "hstack",
        "vstack",
        "broadcast_to",
        "reshape_as",
        "identity",
        "movedim",
        "swapaxes",
        "__getitem__",
        "__add__",
        "__radd__",
        "__sub__",
        "__rsub__",
        "__neg__",
    ]
)

# in-place and operator spellings of the same operations
SPELLINGS = {
    "add_": "add",
    "__iadd__": "add",
    "sub_": "sub",
    "__isub__": "sub",
    "mul_": "mul",
    "__imul__": "mul",
    "__mul__": "mul",
    "__rmul__": "mul",
    "multiply": "mul",
    "div_": "div",
    "true_divide": "div",
    "__truediv__": "div",
    "__itruediv__": "div",
    "__rdiv__": "rdiv",
    "__rtruediv__": "rdiv",
    "clip": "clamp",
    "divide": "div",
    "__matmul__": "matmul",
    "__rmatmul__": "rmatmul",
    "mm": "matmul",
    "bmm": "matmul",
    "masked_fill_": "masked_fill",
    "absolute": "abs",
    "conv_transpose1d": "conv_transpose2d",
    "conv_transpose3d": "conv_transpose2d",
    "max_pool2d_with_indices": "max_pool2d",
    "_max_pool2d": "max_pool2d",
    **{f"{name}_": name for name in ELEMENTWISE},
}

# what only looks at a tensor
QUESTIONS = frozenset(
    [
        "size",
        "dim",
        "ndim",
        "shape",
        "dtype",
        "device",
        "layout",
        "stride",
        "numel",
        "nelement",
        "is_contiguous",
        "is_floating_point",
        "requires_grad",
        "is_cuda",
        "is_sparse",
        "is_quantized",
        "is_complex",
        "element_size",
        "__len__",
        "get_device",
        "is_mkldnn",
        "is_meta",
        "data_ptr",
        "is_nested",
        "is_leaf",
        "is_inference",
        "is_mps",
        "itemsize",
        "nbytes",
        "ndimension",
        "names",
    ]
)

# tensors made in the likeness of one, not from its values
CONSTANTS = frozenset(
    f"{kind}{what}"
    for kind, what in [
        *(("new_", what) for what in ("zeros", "ones", "full", "empty", "tensor")),
        *((what, "_like") for what in ("zeros", "ones", "full", "empty")),
    ]
)
