"""Names and sentences as GitHub's and GitLab's Markdown shows them: as they are, and never as markup."""

import re

LONGEST_CODE = 120  # letters of a name or a value
LONGEST_TEXT = 500
# control characters, and those that turn the direction of what follows
UNSEEN = re.compile("[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOT_IN_A_SPAN = re.compile(r"[`|\\]|^\s|\s$")
PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def code(text: str, longest: int = LONGEST_CODE) -> str:
    """Return a name or a value as code, also within a table; what is longer loses its middle.

    In code nothing is markup, and @name calls nobody. What a code span of a table cannot hold is written by number.
    """
    text = _cut(_seen(text), longest)
    if not text:
        return "(empty)"
    if not NOT_IN_A_SPAN.search(text):
        return f"`{text}`"
    return f"<code>{PUNCTUATION.sub(lambda found: f'&#{ord(found[0])};', text)}</code>"


def sentence(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a sentence as it is read, also within a table or at the beginning of a line."""
    text = _cut(_seen(text), longest).strip()
    text = re.sub(r"[\\`*\[\]#~|!$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
    text = re.sub(r"^(\d*)([-+.)=])", r"\1\\\2", text)
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@&#8203;")):
        text = text.replace(character, written)
    return text


def _seen(text: str) -> str:
    """Return the text in one line, without what is not seen or is no character."""
    return UNSEEN.sub(" ", text.encode(errors="replace").decode())


def _cut(text: str, longest: int) -> str:
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - half]}…{text[-half:]}"
