"""Progress bars: live in a terminal, a line every ten seconds elsewhere."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Any = None, **options: Any) -> Any:
    """Return a tqdm bar with the project's settings; options as tqdm's."""
    interval = 0.1 if interactive() else 10.0
    return tqdm(iterable, mininterval=interval, maxinterval=max(interval, 10.0), file=sys.stderr, **options)


def interactive() -> bool:
    """Return whether somebody watches the terminal."""
    return sys.stderr.isatty()
