import pytest

from layershap.plots import words


@pytest.mark.parametrize(
    "text", ["a" * 200, "word " * 40, "a_b-c/" * 40, "W" * 60, "i" * 60 + " " + "W" * 60, "قطة " * 40]
)
def test_no_line_is_too_wide_and_no_letter_is_lost(text):
    wrapped = words.wrapped(text, 2.0, 9)
    assert max(words.width(line, 9) for line in wrapped.split("\n")) <= 2.0
    assert "".join(wrapped.split()) == "".join(text.split())


def test_what_fits_stays_as_it_is():
    assert words.wrapped("a short one\n\nof lines", 2.0, 9) == "a short one\n\nof lines"


def test_the_middle_is_left_out_where_lines_are_few():
    wrapped = words.wrapped("start" + "x" * 300 + "end", 2.0, 9, lines=2)
    assert wrapped.count("\n") == 1
    assert wrapped.startswith("start") and wrapped.endswith("end") and "…" in wrapped


def test_names_that_differ_in_the_middle_alone_keep_apart():
    names = ["x" * 200 + letter + "x" * 200 for letter in "abc"]
    assert len(set(words.fitted(names, 2.0, 9, lines=2))) == 3


def test_letters_without_a_font_are_code_points_in_brackets():
    assert words.spelled("a猫b") == "a[732b]b"
    assert words.spelled("\udcff\x07\u200d") == "[dcff] "
    assert words.note(["a", "قطة"]) == ""
    assert words.note(["a", "猫"]) == "\n" + words.NOTE
