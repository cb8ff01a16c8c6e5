"""Import this module before torchvision, timm, pytorch_lightning or mlflow.pytorch.

A torchvision built for another torch build (CUDA beside CPU) fails at import because its compiled operators are
missing. Only detection needs them; declaring their names lets data sets, models and transforms work. Where
torchvision imports as it is, nothing is done.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
