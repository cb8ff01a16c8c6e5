"""What the project's pages tell a reader to type."""

import re


def blocks(text: str) -> list[list[str]]:
    """Return the lines of each indented block of a page."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return [block.splitlines() for block in re.findall(r"(?:^ {4}.*\n?(?:\n(?= {4}))?)+", text, flags=re.M)]


def lines(text: str) -> list[str]:
    """Return the lines of all indented blocks, those that end in a backslash joined, remarks left out."""
    found = []
    for block in blocks(text):
        joined = "\n".join(line.strip() for line in block).replace("\\\n", " ")
        found += [re.sub(r"\s+# .*", "", line) for line in joined.splitlines()]
    return [line for line in found if line]


def section(text: str, title: str) -> str:
    """Return what stands below a heading of the second level."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]
