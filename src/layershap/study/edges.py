"""Outlines of images at the resolution of a heatmap, and how closely a heatmap follows whose."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def edges(images: Tensor) -> Tensor:
    """Return the Sobel gradient's length [N, H, W] of images [N, 3, H, W] in grey; the border is repeated."""
    grey = (images * images.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    across = images.new_tensor(SOBEL)[None, None]
    padded = F.pad(grey, [1, 1, 1, 1], mode="replicate")
    found = F.conv2d(padded, torch.cat([across, across.mT]))
    return found.norm(dim=1)


def to_grid(maps: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Return maps [N, H, W] averaged to `shape` and laid flat: [N, pixels], float64."""
    return F.adaptive_avg_pool2d(maps[:, None].double(), shape).flatten(1).numpy()


def without(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return values [..., pixels] less what a constant and `controls` [K, pixels] explain (least squares)."""
    basis = np.vstack([np.ones(controls.shape[-1]), controls]).T
    # an orthonormal basis: controls that are constant or alike count once
    vectors, sizes, _ = np.linalg.svd(basis, full_matrices=False)
    vectors = vectors[:, sizes > sizes[0] * 1e-10]
    return values - (values @ vectors) @ vectors.T


def partial_correlations(heatmap: np.ndarray, candidates: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return the correlation [C] of a map [pixels] with each of candidates [C, pixels], given `controls` [K, pixels].

    0 where the map or a candidate has nothing beyond the controls.
    """
    left, right = without(heatmap, controls), without(candidates, controls)
    sizes = np.linalg.norm(left) * np.linalg.norm(right, axis=1)
    smallest = 1e-9 * np.linalg.norm(heatmap) * np.linalg.norm(candidates, axis=1)
    return np.divide(right @ left, sizes, out=np.zeros(len(candidates)), where=sizes > smallest)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of two maps of any equal shape; NaN where one is constant."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / size) if size > 0 else float("nan")


def rank(scores: np.ndarray, true: int) -> tuple[float, float]:
    """Return whether `true` has the largest score (ties: its share), and the share of the others below it (AUC)."""
    others = np.delete(scores, true)
    above, ties = (others > scores[true]).sum(), (others == scores[true]).sum()
    below = len(others) - above - ties
    return float(above == 0) / (1 + ties), float((below + ties / 2) / len(others))


def checkerboard(size: int, squares: int) -> Tensor:
    """Return a board [size, size] of +1 and -1 with `squares` along a side."""
    place = torch.arange(size) * squares // size
    return 1.0 - 2.0 * ((place[:, None] + place[None, :]) % 2).float()
