"""How every picture is drawn and written. The bytes of a file depend on its content alone.

No pyplot: no window, no back end of the user's that would change, nothing to close. matplotlib's own settings whatever
the user's file says, no time stamp; text is text, never a formula.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from layershap.plots import words


class Picture(Figure):
    """A figure that a notebook shows where it is the last line of a cell; `savefig` writes it."""

    def _repr_png_(self) -> bytes:
        return encode(self)


def blank(width: float, height: float, **options: Any) -> Picture:
    """Return an empty figure of this size in inches; `options`: of matplotlib's Figure."""
    figure = Picture(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def style() -> Iterator[None]:
    """Draw inside with fixed settings; as a decorator, of all that a function draws.

    A name with two $ in it would otherwise be read as a formula, and a tick of a logarithmic scale is one: such scales
    need a formatter without.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        matplotlib.rcParams["font.family"] = words.families()
        yield


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(figure))


@style()
def encode(figure: Figure) -> bytes:
    """Return `figure` as the bytes of a PNG file."""
    if len(families := words.families()) > 1:
        for text in figure.findobj(Text):
            text.set_fontfamily(families)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=words.DPI, metadata={"Software": None})
    return file.getvalue()
