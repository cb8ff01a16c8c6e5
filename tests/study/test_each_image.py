import pandas as pd
import pytest

from layershap.study.images import each_image

COLUMNS = ["measure", "value"]


def test_an_interrupted_study_goes_on_where_it_was(tmp_path):
    asked = []

    def numbers(position):
        if position == 2 and len(asked) < 3:
            asked.append("stopped")
            raise KeyboardInterrupt
        asked.append(position)
        return [("a", position / 3), ("b", 1.0)]

    with pytest.raises(KeyboardInterrupt):
        each_image(["x", "y", "z"], tmp_path / "study" / "work", numbers, COLUMNS)
    found = each_image(["x", "y", "z"], tmp_path / "study" / "work", numbers, COLUMNS)
    assert asked == [0, 1, "stopped", 2]
    whole = each_image(["x", "y", "z"], tmp_path / "study" / "other", lambda p: [("a", p / 3), ("b", 1.0)], COLUMNS)
    pd.testing.assert_frame_equal(found, whole)
    assert list(found["image"]) == ["x", "x", "y", "y", "z", "z"]
