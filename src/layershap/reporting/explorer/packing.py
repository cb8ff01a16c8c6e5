"""Maps in few bytes, as templates/explorer.js unpacks them.

Values are float16 in parts of the map's largest: off by at most VALUE_OFF of themselves, or by TINY_OFF of the largest
where they are smaller than 6e-5 of it. Errors are 8 bits, in 16 steps for each factor of two: off by at most ERROR_OFF
of themselves, down to a 60,000th of the map's largest.
"""

import base64
from typing import Any

import numpy as np

VALUE_OFF = 2.0**-11
TINY_OFF = 2.0**-25
STEPS = 16  # of an error, for each factor of two
TOP = 255
ERROR_OFF = 2.0 ** (1.5 / STEPS) - 1  # a step and a half: see pack_errors


def pack_values(values: np.ndarray) -> dict[str, Any]:
    """Return a map [H, W] as its largest size and base64 of little-endian float16, row by row."""
    largest = float(np.abs(values).max())
    parts = values.astype(np.float64) / (largest or 1.0)
    return {"largest": largest, "values": _text(parts.astype("<f2"))}


def unpack_values(packed: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return the map as the page has it, float64."""
    parts = np.frombuffer(base64.b64decode(packed["values"]), "<f2").astype(np.float64)
    return (parts * packed["largest"]).reshape(shape)


def pack_errors(errors: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Return standard errors [H, W] of `values` as the one of the highest code and base64 of a byte for each; 0 is 0.

    The nearest step, or the one beside it where that alone tells whether a value is within twice its error: what is
    pale on the page is pale in the pictures (but for values below 6e-5 of the largest, which are white in both).
    """
    sizes = np.abs(values.astype(np.float64))
    errors = errors.astype(np.float64)
    highest = float(errors.max()) * 2.0 ** (1 / STEPS)  # a step above the largest
    with np.errstate(divide="ignore"):
        steps = TOP + STEPS * np.log2(errors / (highest or 1.0))
    codes = np.where(errors > 0, np.clip(np.round(np.maximum(steps, 1)), 1, TOP), 0)
    shown = unpack_values(pack_values(values), values.shape)
    within = sizes < 2 * errors
    wrong = (np.abs(shown) < 2 * _errors(codes, highest)) != within
    moved = np.clip(codes + np.where(within, 1, -1), 0, TOP)
    codes = np.where(wrong & (codes > 0), moved, codes)
    return {"highest": highest, "errors": _text(codes.astype(np.uint8))}


def unpack_errors(packed: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return the standard errors as the page has them, float64."""
    codes = np.frombuffer(base64.b64decode(packed["errors"]), np.uint8).reshape(shape)
    return _errors(codes, packed["highest"])


def _errors(codes: np.ndarray, highest: float) -> np.ndarray:
    return np.where(codes > 0, highest * 2.0 ** ((codes.astype(np.float64) - TOP) / STEPS), 0.0)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
