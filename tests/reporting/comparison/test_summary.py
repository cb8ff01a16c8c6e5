"""The comparison as Markdown: what is lost is named, whatever it is called, and the rest is counted."""

import html
import re
from dataclasses import asdict

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from layershap.judging.paired import aligned, paired
from layershap.reporting.comparison.facts import facts
from layershap.reporting.comparison.summary import LONGEST, summary
from layershap.workspace import paths
from layershap.workspace.compared.side import Side

CLASSES = ("cat", "<i>d|o`g</i>")


def predictions(names, wrong):
    """Return a table of predictions: images are of either class in turn, those in `wrong` are taken for the other."""
    rows = []
    for number, name in enumerate(names):
        label = CLASSES[number % 2]
        share = 0.2 if name in wrong else 0.9
        other = CLASSES[1 - number % 2]
        sure = {label: share, other: 1 - share}
        chances = {f"p_{known}": sure[known] for known in CLASSES}
        taken = {"predicted": max(sure, key=sure.get), "correct": int(name not in wrong)}
        rows.append({"path": name, "pixels": name, "label": label, **taken, **chances})
    return pd.DataFrame(rows)


def side(folder, name, kind="revision", verdict="PASS", reasons=(), settings=None, wrong=(), count=100):
    (folder / name).mkdir(parents=True, exist_ok=True)
    numbers = {"accuracy": 1 - len(wrong) / count, "accuracy_low": 0.1, "accuracy_high": 1.0, "n_test": float(count),
               f"per_class/{CLASSES[1]}/recall": 0.5}  # fmt: skip
    known = {"commit": "0123456789", "message": "Merge @someone | #12"}
    return Side(kind, name, known, settings or {"train.epochs": "4"}, numbers, verdict, folder / name, reasons=reasons)


def written(folder, names, lost=(), gained=(), pictures="", reasons=(), settings=None):
    count = len(names)
    first = side(folder, "main", wrong=gained, count=count)
    second = side(folder, "workspace", "workspace", "FAIL", reasons, settings, lost, count)
    tables = aligned(predictions(names, gained), predictions(names, lost))
    return summary(facts(first, second, tables, asdict(paired(*tables, draws=50))), pictures)


def table(text, title):
    """Return the cells of the table below a heading, as a reader sees them; the page's other markup counts as text."""
    page = MarkdownIt("commonmark").enable("table").render(text)
    below = page.split(f"<h3>{title}", 1)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", below.split("</table>", 1)[0], re.S)
    found = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, re.S) for row in rows]
    return [[html.unescape(re.sub(r"</?code>", "", cell)) for cell in row] for row in found]


def test_lost_and_gained_images_are_named_with_their_classes(tmp_path):
    names = [f"c/{number}.png" for number in range(20)] + ["a|b.png", "`x`<b>.png", "@me_and_*you*.png", "#1.png"]
    text = written(tmp_path, names, lost=names[20:], gained=names[:1], pictures="https://ci.example/1#artifacts",
                   reasons=("accuracy fell by 0.125, not by chance (`<b>`)",))  # fmt: skip
    lost = table(text, "Lost")
    assert lost[0] == ["picture", "is", "A", "B"]
    assert sorted(row[0] for row in lost[1:]) == sorted(names[20:])
    for row in lost[1:]:
        label = CLASSES[names.index(row[0]) % 2]
        other = CLASSES[1 - names.index(row[0]) % 2]
        assert row[1:] == [label, f"{label} 90 %", f"{other} 80 %"]
    assert table(text, "Gained")[1:] == [["c/0.png", "cat", f"{CLASSES[1]} 80 %", "cat 90 %"]]
    assert "**4 lost, 1 gained** of 24 test images" in text
    assert "(https://ci.example/1#artifacts)" in text.replace("<", "").replace(">", "")
    assert text.startswith("<!-- layershap compare -->\n## `workspace` against `main`: FAIL\n")
    page = MarkdownIt("commonmark").enable("table").render(text)
    assert "<li>accuracy fell by 0.125, not by chance (`&lt;b&gt;`)</li>" in page
    assert not re.search(r"<(i|b)>", page)
    assert not re.search(r"@\w", re.sub(r"<code>.*?</code>", "", page))  # calls nobody


@pytest.mark.parametrize(("length", "most"), [(4, 100), (1000, 20)])
def test_what_is_too_long_is_counted(tmp_path, length, most):
    names = [f"{'<&|`' * (length // 4)}{number:04d}.png" for number in range(1500)]
    settings = {f"head.hidden{number}": "x" * length for number in range(500)}
    text = written(tmp_path, names, lost=names[::2], settings=settings, reasons=["|" * length] * 300)
    assert len(text.encode()) <= LONGEST
    rows = table(text, "Lost: right in A, wrong in B (750)")[1:]
    assert len(rows) == most
    for count in (750, 501, 300):  # images, settings, reasons
        assert f"and {count - most} more." in text
    assert text == written(tmp_path, names, lost=names[::2], settings=settings, reasons=["|" * length] * 300)


def test_other_test_images_and_an_equal_model_are_said(tmp_path):
    names = [f"{number}.png" for number in range(10)]
    assert "No decision was lost or gained." in written(tmp_path, names)
    first, second = side(tmp_path, "main"), side(tmp_path, "workspace", "workspace", "INVALID")
    text = summary(facts(first, second, None, None))
    assert "The test images of the two are not the same" in text
    assert "Lost" not in text and "McNemar" not in text and "95 % |" not in text
    assert "pictures" not in text


def test_a_changed_baseline_is_said(tmp_path):
    first, second = side(tmp_path, "main"), side(tmp_path, "workspace", "workspace")
    said = "compares with another baseline"
    for one, two, other in (("{}", "{}", False), ("{}", "{ }", True), (None, "{}", True), (None, None, False)):
        for where, content in ((first, one), (second, two)):
            file = where.folder / paths.BASELINE
            file.parent.mkdir(exist_ok=True)
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_text(content)
        assert (said in summary(facts(first, second, None, None))) == other
    run = side(tmp_path, "run", "run")
    assert said not in summary(facts(run, second, None, None))  # a run does not know its baseline
