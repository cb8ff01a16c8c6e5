"""What a picture shows of one layer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Panel:
    """`heatmap` [H, W] under `title`; `error` [H, W]: its standard error, NaN or None where it is not known;
    `prefix`: the sum over tokens before the grid, in the heatmap's unit, or None."""

    title: str
    heatmap: np.ndarray
    error: np.ndarray | None = None
    prefix: float | None = None
