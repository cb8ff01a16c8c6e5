"""The studies' pictures: a class's name is text there too, and a logarithmic scale shows numbers."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from layershap.plots import canvas
from layershap.reporting import figures
from layershap.study import other_faces_figures
from layershap.study.other_faces import GROUPS
from layershap.study.quality import DEPTHS, SHARES
from layershap.study.quality_figures import quality_picture

LAYERS = (2, 3, 4)
MEASURES = [
    "agreeing share", "gini", "agreement", "deletion gain", "insertion gain", "sensitivity-n",
    *(f"likeness {depth:g}" for depth in DEPTHS),
    *(f"{kind} {share:g}" for kind in ("deletion", "random", "least first") for share in SHARES),
]  # fmt: skip


def shown(figure) -> list[str]:
    with canvas.style():
        figure.savefig(io.BytesIO(), format="png")
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize(
    "name", ["price_$5_and_$6", "猫", "a_very_long_name_of_sixty_letters_as_some_data_sets_have_0001"]
)
def test_a_class_in_the_picture_of_quality(name):
    row = {"name": "block", "mean": 0.5, "low": 0.4, "high": 0.6}
    table = pd.DataFrame([{"layer": layer, "measure": measure, **row} for layer in LAYERS for measure in MEASURES])
    unit = figures.unit("margin", ["a", name])
    figure = quality_picture(table, unit)
    texts = shown(figure)
    assert any(unit in text.replace("\n", " ") or unit in text.replace("\n", "") for text in texts)
    for axis in figure.axes:
        box = axis.yaxis.label.get_window_extent()
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
        assert axis.get_position().height > 0.2


def test_a_logarithmic_scale_shows_numbers(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(other_faces_figures, "save", lambda figure, path: drawn.append((path.name, shown(figure))))
    rng = np.random.default_rng(0)
    measures = [f"{kind} {count}" for kind in ("others", "own", "spread") for count in GROUPS]
    rows = [
        {"experiment": "c", "measure": measure, "layer": layer, "name": "block", "mean": 10 ** rng.uniform(-3, 0)}
        for layer in LAYERS
        for measure in measures
    ]
    table = pd.DataFrame(rows).assign(low=np.nan, high=np.nan, images=9, p_holm=1.0)
    other_faces_figures.save_all(tmp_path, table)
    texts = dict(drawn)["references.png"]
    assert not any("$" in text for text in texts)
    assert {"0.1", "0.01"} <= set(texts)
