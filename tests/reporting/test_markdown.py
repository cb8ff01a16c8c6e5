"""Names and sentences in Markdown, read back by a Markdown reader as GitHub's table extension has it."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from layershap.reporting.markdown import LONGEST_CODE, code, sentence

ODD = (
    "cat/001.png", "a|b.png", "`a`.png", "``", "a\\b.png", "a\\|b", "a\\", "|", "<b>x</b>.png", "<!-- x.png",
    "&lt;.png", "&#124;", "*a*_b_~~c~~.png", "@octocat.png", "#12", "[x](y)", "![x](y)", "$x$", " a ", "a  b",
    "中文/é.png", "https://x.org/a_b_c",
)  # fmt: skip
SENTENCES = (
    *(name.strip() for name in ODD), "1. first", "- point", "+ more", "# title", "> said", "--- ", "1) one",
    "accuracy 0.5 is below gate.min_accuracy = 0.9 (policy strict: accuracy_low 0.4)", "__all__", "* * *", "===",
)  # fmt: skip


def cells(text: str) -> list[str]:
    """Return what a reader sees in each cell of the last row of a table, as HTML."""
    page = MarkdownIt("commonmark").enable("table").render(text)
    return re.findall(r"<td>(.*?)</td>", page.rsplit("<tr>", 1)[1], re.S)


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_read_as_it_is_and_as_code(name):
    found = cells(f"| a | b |\n|---|---|\n| {code(name)} | x |\n")
    assert len(found) == 2
    (inner,) = re.fullmatch(r"<code>(.*)</code>", found[0], re.S).groups()
    assert "<" not in inner
    assert html.unescape(inner) == name


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_is_read_as_it_is(text):
    in_table = cells(f"| a | b |\n|---|---|\n| {sentence(text)} | x |\n")
    page = MarkdownIt("commonmark").render(f"- {sentence(text)}\n")
    in_list = re.fullmatch(r"<ul>\n<li>(.*)</li>\n</ul>\n", page, re.S)[1]
    assert len(in_table) == 2
    for found in (in_table[0], in_list):
        assert "<" not in found, found
        assert html.unescape(found).replace("\u200b", "") == text.strip()
    assert not re.search(r"@\w", html.unescape(in_list))


def test_what_is_long_or_not_seen():
    assert code("") == "(empty)"
    assert code("a\nb\u202eg\x00") == "<code>a b g </code>"
    long = code("a" * 100 + "b" * 100)
    assert len(long) == LONGEST_CODE + 2 and long.startswith("`aaa") and "…" in long and long.endswith("bbb`")
    assert code("x" * LONGEST_CODE) == f"`{'x' * LONGEST_CODE}`"
    assert code("\udcff.png") == "`?.png`"  # a file name that is no text
