"""The comparison as Markdown, for a comment on a pull request or a CI job's summary."""

from collections.abc import Mapping
from typing import Any

from layershap.reporting.report import render

TEMPLATE = "compare.md.j2"
LONGEST = 60_000  # bytes; GitHub takes comments of 65,536 characters
MOST = (100, 50, 20, 10, 5, 2, 1)  # rows of each list


def summary(facts: Mapping[str, Any], pictures: str = "") -> str:
    """Return what is said of two models, with as many rows of each list as `LONGEST` has room for, the others counted.

    `facts`: of comparison.facts. `pictures`: the address of a page where the pictures are, or nothing.
    """
    names = dict.fromkeys(name for _, side in facts["sides"] for name in side.facts)
    for most in MOST:
        text = render(TEMPLATE, {**facts, "names": list(names), "pictures": pictures, "most": most})
        if len(text.encode()) <= LONGEST:
            break
    return text
