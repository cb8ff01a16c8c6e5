"""Names that users gave (classes, files), made fit for a picture: letters that a font has, lines that fit.

Letters that matplotlib's own font lacks come from another font of this machine, if one has them. Otherwise a class is
shown as its number, and a letter of any other name as its code point in brackets; NOTE says so in the picture.
"""

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"
NOTE = "(no font here has the letters of some names: they are shown as numbers)"
BLANK = ("last ?resort", "blank", "emoji", "tofu", "notdef")  # fonts of boxes or of pictures
DPI = 100

_used: set[str] = set()


def families() -> list[str]:
    """Return the fonts of a picture: matplotlib's own, then those that had letters it lacks.

    The order is that in which they are searched, so that a letter's font does not depend on what was drawn before.
    """
    return [BASE, *(name for name in _fallbacks() if name in _used)] if _used else [BASE]


@functools.cache
def _fallbacks() -> dict[str, str]:
    """Return file by family of the upright fonts of normal weight, in alphabetical order."""
    found: dict[str, str] = {}
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, str(entry.fname))):
        plain = entry.style == "normal" and entry.weight in (400, 500, "normal", "regular", "book", "medium")
        if plain and not any(word.replace(" ?", "") in entry.name.lower().replace(" ", "") for word in BLANK):
            found.setdefault(entry.name, str(entry.fname))
    return {name: file for name, file in found.items() if not name.startswith(("DejaVu", "STIX", "cm"))}


@functools.cache
def _letters(file: str) -> np.ndarray:
    """Return the code points of a font, sorted; none where it cannot be read or scaled."""
    try:
        font = FT2Font(file)
        codes = font.get_charmap() if font.scalable else {}
    except (OSError, RuntimeError):
        codes = {}
    return np.array(sorted(codes), dtype=np.uint32)


def _has(file: str, letter: str) -> bool:
    codes = _letters(file)
    place = int(np.searchsorted(codes, ord(letter)))
    return place < len(codes) and int(codes[place]) == ord(letter)


@functools.cache
def drawable(letter: str) -> bool:
    """Say whether some font here has this letter, and remember the font."""
    if _has(font_manager.findfont(BASE), letter):
        return True
    if unicodedata.category(letter) in ("Cs", "Co", "Cn"):
        return False
    for name, file in _fallbacks().items():
        # matplotlib finds fonts by family: what it finds must be the file that was looked at
        if _has(file, letter) and Path(font_manager.findfont(name)).resolve() == Path(file).resolve():
            _used.add(name)
            return True
    return False


def clean(text: str) -> str:
    """Return `text` with spaces for control characters and without invisible ones; line breaks stay."""
    kept = (" " if unicodedata.category(letter) == "Cc" and letter != "\n" else letter for letter in text)
    return "".join(letter for letter in kept if unicodedata.category(letter) != "Cf")


def spelled(text: str) -> str:
    """Return `text` clean, and with the code points in brackets for letters that no font here has."""
    result: list[str] = []
    lacking: list[str] = []
    for letter in [*clean(text), ""]:
        if letter and letter != "\n" and not drawable(letter):
            lacking.append(f"{ord(letter):x}")
            continue
        if lacking:
            shown = lacking if len(lacking) <= 4 else [*lacking[:2], "…", lacking[-1]]
            result.append(f"[{' '.join(shown)}]")
            lacking = []
        result.append(letter)
    return "".join(result)


def class_names(classes: Sequence[str]) -> list[str]:
    """Return the names of the classes as a picture can show them: `class 3` where no font here has the letters."""
    cleaned = [clean(name).replace("\n", " ") for name in classes]
    return [
        name if name.strip() and spelled(name) == name else f"class {number}" for number, name in enumerate(cleaned)
    ]


def note(names: Iterable[str]) -> str:
    """Return NOTE on a line of its own if no font here has the letters of some of `names`, else nothing."""
    return f"\n{NOTE}" if any(spelled(name) != clean(name) for name in names) else ""


@functools.cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)


def width(line: str, size: float) -> float:
    """Return the width in inches of a line in letters of `size` points."""
    if not line:
        return 0.0
    font = font_manager.FontProperties(family=families(), size=size)
    return float(_renderer().get_text_width_height_descent(line, font, False)[0]) / DPI


def wrapped(text: str, inches: float, size: float, lines: int | None = None) -> str:
    """Return `text` with line breaks so that no line is wider than `inches` in letters of `size` points.

    Breaks after spaces and the marks of file names where there are any. With more than `lines` lines, the middle is
    left out, with … in its place.
    """
    broken = [part for line in text.split("\n") for part in _break(line, inches, size)]
    if lines is None or len(broken) <= lines:
        return "\n".join(broken)
    low, high = 1, len(text) - 1
    while low < high:  # the most letters that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_break(_shorter(text, middle), inches, size)) <= lines else (low, middle - 1)
    return "\n".join(_break(_shorter(text, low), inches, size)[:lines])


def _shorter(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _break(line: str, inches: float, size: float) -> list[str]:
    found = []
    while line and width(line, size) > inches:
        low, high = 1, len(line)
        while low < high:  # the longest beginning that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if width(line[:middle], size) <= inches else (low, middle - 1)
        # after a mark, unless the line would be short
        place = max((line.rfind(mark, 0, low) + 1 for mark in " -_/,;"), default=0)
        if line[low : low + 1] == " ":
            place = low
        place = place if place > low // 2 else low
        found.append(line[:place].rstrip())
        line = line[place:].lstrip()
    return [*found, line] if line or not found else found


def fitted(names: Sequence[str], inches: float, size: float, lines: int) -> list[str]:
    """Return the names wrapped to at most `lines` lines; those that look alike then get their number."""
    short = [wrapped(name, inches, size, lines) for name in names]
    return [
        text if short.count(text) == 1 or text == name else wrapped(f"{number}: {name}", inches, size, lines)
        for number, (text, name) in enumerate(zip(short, names, strict=True))
    ]


def height(text: str, size: float) -> float:
    """Return the height in inches that the lines of `text` take beyond the first."""
    return text.count("\n") * size * 1.35 / 72
