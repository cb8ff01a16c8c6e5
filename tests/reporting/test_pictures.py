"""Pictures of names as users give them: long, foreign, with $ in them, of 2 to 500 classes."""

import io
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from layershap.plots import canvas, sheets, words
from layershap.plots.panel import Panel
from layershap.reporting import decisions, figures
from pictures import check_legible, drawn


def long(number: int) -> str:
    return f"a_very_long_name_of_sixty_letters_as_some_data_sets_have{number:04d}"


ODD = [
    "price_$5_and_$6",
    "cats & dogs",
    "50%",
    "猫",
    "日本語の名前",
    "قطة جميلة",
    "_hidden",
    "line\nbreak",
    "\udcff",
    "",
]
SHORT = ["functional", "defective"]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def noted(figure) -> bool:
    return any(words.NOTE in text.replace("\n", " ") for text, _ in drawn(figure))


def sizes(figure) -> tuple[int, int]:
    return Image.open(io.BytesIO(canvas.encode(figure))).size


def confused(names, rng, share=0.3):
    count = len(names)
    targets = np.concatenate([np.arange(count), rng.integers(0, count, 400)])
    other = rng.integers(0, count, len(targets))
    return decisions.confusion(targets, np.where(rng.random(len(targets)) < share, other, targets), names)


def sheet(name: str, maps, draw=sheets.contact_sheet, unit=None):
    unit = unit or figures.unit("margin", ["a", long(1)])
    heading = f"{name}: {long(3)}, WRONGLY taken for {long(4)} (97% sure)\n{unit}: 1.000 = 0.300 (mean) +0.700 (sum)"
    return draw(
        np.zeros((8, 8, 3)),
        [Panel(f"{place} block{place}", shown) for place, shown in enumerate(maps, 2)],
        heading,
        unit,
    )


def curves(names, rng):
    return {name: (rng.random(18), -rng.random(18)) for name in names}


@pytest.mark.parametrize("names", [SHORT, [long(0), long(1)], [f"b {n}" for n in range(5)], [*ODD, long(0), long(1)]])
def test_a_confusion_matrix_is_legible(names, rng):
    check_legible(confused(names, rng))


@pytest.mark.parametrize("count", [12, 30])
def test_a_confusion_matrix_of_long_names_is_legible_and_large_beside_its_colour_bar(count, rng):
    figure = confused([long(number) for number in range(count)], rng)
    drawn(figure)
    matrix, bar = (axis.get_window_extent().height for axis in figure.axes)
    assert bar == pytest.approx(matrix, rel=0.03)
    assert matrix / count > 30
    check_legible(figure)


@pytest.mark.parametrize("count", [40, 500])
def test_of_many_classes_the_most_confused_pairs_are_shown(count, rng):
    names = [long(number) for number in range(count)]
    targets = np.repeat(np.arange(count), 4)
    predicted = targets.copy()
    predicted[[28, 29, 30, 60]] = 9  # three images of class 7, and one of class 15
    figure = decisions.confusion(targets, predicted, names)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"{long(7)}\ntaken for {long(9)}", f"{long(15)}\ntaken for {long(9)}"]
    assert {"3 of 4", "1 of 4"} <= {text.strip() for text, _ in drawn(figure)}
    check_legible(figure)
    figure = confused(names, rng)
    assert max(sizes(figure)) <= 1200
    check_legible(confused([*ODD, *names[10:]], rng))


def test_many_classes_without_a_mistake(rng):
    figure = confused([long(number) for number in range(40)], rng, share=0)
    assert any("No mistakes" in text for text, _ in drawn(figure))
    check_legible(figure)


def test_a_class_without_a_font_is_shown_as_its_number_and_a_line_says_so(rng):
    assert words.class_names(["猫", "قطة", "a b"]) == (["class 0", "قطة", "a b"])
    assert {"class 0", "class 1"} <= {text for text, _ in drawn(confused(["猫", "犬"], rng))}
    assert noted(confused(["猫", "犬"], rng))
    assert not noted(confused(SHORT, rng))
    assert figures.unit("margin", ["猫", "犬"]) == "log odds of class 1"
    assert noted(figures.layers_curve(curves(["猫-1"], rng), range(2, 20), "x"))
    assert noted(sheet("猫-1", [np.eye(4)] * 3))
    assert noted(confused([*(long(number) for number in range(40)), "猫"], rng))


def test_a_font_of_this_machine_is_used_where_matplotlibs_own_lacks_a_letter(tmp_path, monkeypatch, rng):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Aaa Cats", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, usWeightClass=400)
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    before = canvas.encode(confused(SHORT, np.random.default_rng(1)))
    numbers = canvas.encode(confused(["猫", "b"], np.random.default_rng(1)))
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(words, "_used", set())
    caches = (words.drawable, words._fallbacks, words._letters)
    try:
        (tmp_path / "link.ttf").symlink_to(tmp_path / "cats.ttf")  # as fonts of some systems are
        font_manager.fontManager.addfont(tmp_path / "link.ttf")
        for cache in caches:
            cache.cache_clear()
        assert words.class_names(["猫", "犬"]) == ["猫", "class 1"]
        found = canvas.encode(confused(["猫", "b"], np.random.default_rng(1)))
        assert found != numbers
        assert found == canvas.encode(confused(["猫", "b"], np.random.default_rng(1)))
        assert words.families() == ["DejaVu Sans", "Aaa Cats"]
        check_legible(confused(["猫", "b"], rng))
        # letters that matplotlib's own font has are drawn as ever
        assert canvas.encode(confused(SHORT, np.random.default_rng(1))) == before
    finally:
        for cache in caches:
            cache.cache_clear()


@pytest.mark.parametrize("draw", [sheets.contact_sheet, sheets.plate])
@pytest.mark.parametrize("count", [1, 18])
def test_a_long_name_in_the_heading_is_wrapped(draw, count, rng):
    maps = [rng.normal(size=(4 + number % 2, 4 + number % 2)) for number in range(count)]
    figure = sheet(f"{long(1)}-{long(2)}", maps, draw)
    drawn(figure)
    assert long(3) in figure.get_suptitle().replace("\n", "")
    check_legible(figure)
    short = sheet("a", maps, draw, "logit")
    drawn(short)
    assert figure.axes[1].get_window_extent().width == pytest.approx(short.axes[1].get_window_extent().width, rel=0.25)


def test_a_long_name_of_a_layer_picture_is_wrapped(rng):
    values = rng.normal(size=(4, 4))
    unit = figures.unit("margin", ["a", long(1)])
    check_legible(
        sheets.layer_picture(
            np.zeros((8, 8, 3)), Panel("3", values, abs(values)), f"{long(1)}-{long(2)}, layer 3", unit
        )
    )


@pytest.mark.parametrize("count", [1, 12, 20, 40])
def test_every_image_has_a_look_of_its_own_and_the_legend_stands_beside_the_curves(count, rng):
    names = [f"{long(number)}-{long(number)}" for number in range(count)]
    figure = figures.layers_curve(curves(names, rng), range(2, 20), figures.unit("margin", ["a", long(1)]))
    drawn(figure)
    (axis,) = figure.axes
    assert axis.get_legend().get_window_extent().x0 >= axis.get_window_extent().x1
    handles = axis.get_legend().get_lines()
    if count <= 20:
        assert len({(line.get_color(), line.get_linestyle()) for line in handles}) == count == len(handles)
    else:
        assert "mean of 40 images" in [text.get_text() for text in axis.get_legend().get_texts()]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert len(set(labels)) == len(labels)
    check_legible(figure)


@pytest.mark.parametrize(("count", "drawn_alone"), [(12, 6), (1000, 0)])
def test_of_more_images_than_have_pictures_the_mean_of_all_is_drawn(count, drawn_alone, rng):
    names = [f"{long(number)}-x" for number in range(count)]
    tables = curves(names, rng)
    figure = figures.layers_curve(tables, range(2, 20), "logit", names[3:9])
    (axis,) = figure.axes
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert f"mean of {count} images" in labels
    assert len([label for label in labels if "names_of" in label or "long_name" in label]) == drawn_alone
    lines = [np.asarray(line.get_ydata()) for line in axis.lines]
    for side in (0, 1):
        mean = np.mean([table[side] for table in tables.values()], axis=0)
        assert any(len(line) == len(mean) and np.allclose(line, mean) for line in lines)
    assert max(sizes(figure)) <= 1200
    check_legible(figure)


def test_every_image_is_named_in_the_legend(rng):
    names = [name for name in ODD if name]
    axis = figures.layers_curve(curves(names, rng), range(2, 20), "logit").axes[0]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == [
        "price_$5_and_$6", "cats & dogs", "50%", "[732b]", "[65e5 672c … 524d]", "قطة جميلة", "_hidden", "line break",
        "[dcff]",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_any_name_is_text_in_every_picture(name, rng):
    values = rng.normal(size=(4, 4))
    image = np.zeros((8, 8, 3))
    unit = figures.unit("margin", ["a", name])
    check_legible(sheet(name, [values] * 3, unit=unit))
    check_legible(sheet(name, [values] * 3, sheets.plate, unit))
    check_legible(sheets.layer_picture(image, Panel("", values, abs(values)), name, unit))
    check_legible(figures.layers_curve(curves([name, "b"], rng), range(2, 20), unit))
    check_legible(confused([name, "b"], rng))
    check_legible(decisions.mistakes([image] * 3, [f"{name}.jpg\n{name} taken for\n{name}, 90% sure"] * 3, 3, 9))


def test_dollars_are_shown_as_they_are(rng):
    figure = sheet("price_$5_and_$6", [rng.normal(size=(4, 4))] * 8)
    assert "price_$5_and_$6" in figure.get_suptitle()
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if text.get_text())


def test_settings_of_the_user_change_no_bytes(rng):
    def picture():
        return canvas.encode(sheet("a", [np.eye(4)] * 3))

    before = picture()
    with matplotlib.rc_context({"font.size": 20, "font.family": "serif", "axes.facecolor": "red", "savefig.dpi": 30}):
        assert picture() == before


def test_mistakes_have_wrapped_captions_and_a_bounded_size(rng):
    image = np.zeros((8, 8, 3))
    captions = [f"{long(number)}.jpg\n{long(1)} taken for\n{long(2)}, 97% sure" for number in range(500)]
    check_legible(decisions.mistakes([image] * 12, captions[:12], 30, 400))
    figure = decisions.mistakes([image] * 500, captions, 700, 4000)
    assert figure.get_suptitle().startswith("The surest 60 of 700 mistakes on 4000")
    assert max(sizes(figure)) < 4000


def test_no_mistakes_are_one_line():
    figure = decisions.mistakes([], [], 0, 40)
    assert [text for text, _ in drawn(figure)] == ["No mistakes on 40 test images"]
    assert sizes(figure)[1] < 100
