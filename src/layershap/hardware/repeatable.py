"""A GPU that gives the same bytes again, in the precision of the settings."""

import os
from typing import Any

import torch

_backends: Any = torch.backends


def repeatable_on(device: torch.device) -> None:
    """Choose, for the whole process, kernels that add in one order, and no TF32 for float32.

    Without it a training that was killed would not go on to the same bytes, and what evaluate judges would not be what
    is served elsewhere. Where an operation has no such kernel, torch warns of it by name. A processor needs nothing.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all of it is written
    _backends.cudnn.benchmark = False  # which chooses by what was faster this time
    for products in (_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn):
        products.fp32_precision = "ieee"
