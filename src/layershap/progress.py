"""Progress bars: live in a terminal, a line every ten seconds elsewhere."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from layershap.workspace import ranks


def progress_bar(iterable: Any = None, **options: Any) -> Any:
    """Return a tqdm bar with the project's settings; options as tqdm's."""
    options.setdefault("disable", not ranks.first())
    interval = 0.1 if interactive() else 10.0
    return tqdm(iterable, mininterval=interval, maxinterval=max(interval, 10.0), file=sys.stderr, **options)


def interactive() -> bool:
    """Return whether somebody watches the terminal."""
    return sys.stderr.isatty()


@contextmanager
def warnings_above_the_bar(stage: str) -> Iterator[None]:
    """Show a warning once, as a line for the user that leaves the bar whole."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: tqdm.write(f"{stage}: {message}", file=sys.stderr)
        yield
