"""How every picture is drawn and written. The bytes of a file depend on its content alone.

Fixed back end, matplotlib's own settings whatever the user's file says, no time stamp; text is text, never a formula.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from layershap.reporting import words


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
    """Write `figure` as PNG and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(figure))


@style()
def encode(figure: Figure) -> bytes:
    """Return `figure` as the bytes of a PNG file and close it."""
    if len(families := words.families()) > 1:
        for text in figure.findobj(Text):
            text.set_fontfamily(families)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=words.DPI, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()
