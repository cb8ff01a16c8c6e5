"""Exact sums need every operation in the precision of its numbers: no TF32, bfloat16 or autocast inside the engine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_backends: Any = torch.backends
# what may lower the precision of float32, each for the whole process
SETTINGS = (
    _backends.cuda.matmul,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn.conv,
    _backends.mkldnn.matmul,
    _backends.mkldnn.rnn,
)

_lock = threading.Lock()
_inside = 0
_before: list[str] = []


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in IEEE float32 or float64 inside; afterwards as before, also after an error.

    With several threads inside, the last to leave restores what the first found.
    """
    global _inside
    with _lock:
        if not _inside:
            _before[:] = [setting.fp32_precision for setting in SETTINGS]
            for setting in SETTINGS:
                setting.fp32_precision = "ieee"
        _inside += 1
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for setting, value in zip(SETTINGS, _before, strict=True):
                    setting.fp32_precision = value
