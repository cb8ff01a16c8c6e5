"""What every stage that computes does first."""

import ctypes
import logging
import warnings

import torch

from layershap.workspace.params import Params


def prepare(params: Params) -> None:
    """Fix the number of threads and torch's generator, and quiet other libraries' advertisements."""
    keep_freed_memory()
    torch.set_num_threads(params.runtime.threads)
    torch.manual_seed(params.train.seed)
    own = logging.getLogger("layershap")
    own.setLevel(logging.INFO)
    own.propagate = False
    if not own.handlers:
        own.addHandler(logging.StreamHandler())
    for name in (
        "pytorch_lightning",
        "lightning.pytorch",
        "mlflow",
        "alembic",
        "matplotlib",
        "torch",
        "urllib3",
        "git",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning|mlflow|torch|torchvision)\b")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def keep_freed_memory() -> None:
    """Let glibc keep large blocks for the next use: page faults cost as much as a pass over a large feature map.

    Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    largest = 2**31 - 1
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    mallopt(trim_threshold, largest)
    mallopt(mmap_threshold, largest)
