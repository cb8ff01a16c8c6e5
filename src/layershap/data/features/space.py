"""The disk space that cached features need: asked for before any work, and taken before it is written to."""

import errno
import os
import shutil
from pathlib import Path

from layershap.data.features.shards import Shards
from layershap.workspace.errors import FULL_DISK, InputError


class NoSpaceError(InputError):
    """The disk has not the space that is asked for. Exit status 74, as of every full disk."""

    exit_code = FULL_DISK


def free_space(folder: Path) -> int:
    """Return how many bytes the disk of a folder has free; the folder need not be there yet."""
    while not folder.is_dir():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def check_space(shards: Shards, free: int, place: Path) -> None:
    """Raise NoSpaceError where the features need more than the `free` bytes on the disk of `place`."""
    needed = shards.images * len(shards.views) * shards.image_bytes
    if needed > free:
        views = f"{len(shards.views)} view" + ("s" if len(shards.views) > 1 else "")
        raise NoSpaceError(
            f"features need {_readable(needed)} ({shards.images:,} images x {views} x "
            f"{_readable(shards.image_bytes)}) and the disk of {place} has {_readable(free)} free: free some, or ask "
            f"for less with extract.views, model.image_size or data.per_class"
        )


def _readable(count: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.1f} {units[0]}" if units[0] != "bytes" else f"{count:.0f} bytes"


def take_space(file: Path) -> None:
    """Take the disk space of a sparse file, so that a full disk is an error now and not a signal at some later page."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise OSError(error.errno, error.strerror, str(file)) from None
