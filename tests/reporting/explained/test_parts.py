import numpy as np
import pytest

from layershap.reporting.explained.parts import Parts
from layershap.workspace.errors import InputError

ROWS = [{"image": "a", "layer": 2, "name": "stem", "positive": 0.1, "error_share": float("nan"), "constant": 0}]
ARRAYS = {"02_stem_heatmap.npy": np.arange(6, dtype=np.float32).reshape(2, 3), "03_last_prefix.npy": np.float32(1.5)}


def draw(folder):
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "layer_02_stem.png").write_bytes(b"picture")


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path / "work", 2)
    parts.write(0, ROWS, ARRAYS, draw)
    return parts


def test_what_is_read_is_what_was_written(parts):
    assert parts.there(0) and not parts.there(1)
    (row,) = parts.rows(0)
    assert np.isnan(row.pop("error_share"))
    assert row == {name: value for name, value in ROWS[0].items() if name != "error_share"}
    found = parts.arrays(0)
    assert found.keys() == ARRAYS.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, ARRAYS[name])
        assert values.shape == ARRAYS[name].shape
    assert (parts.pictures(0) / "a" / "layer_02_stem.png").read_bytes() == b"picture"


def test_an_image_without_pictures_has_none(parts):
    parts.write(1, ROWS, ARRAYS)
    assert parts.pictures(1) is None and parts.there(1)
    parts.check()


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, empty, lambda file: file.unlink()])
@pytest.mark.parametrize("name", ["numbers.json", "arrays.npz", "pictures/a/layer_02_stem.png"])
def test_a_part_with_a_broken_file_is_not_there_and_is_made_again(parts, name, harm):
    harm(parts.place(0) / name)
    assert not parts.there(0)
    parts.write(0, ROWS, ARRAYS, draw)
    assert parts.there(0)


def test_a_part_that_is_not_finished_is_not_there(parts):
    def killed(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.write(1, ROWS, ARRAYS, killed)
    assert not parts.there(1)
    with pytest.raises(InputError, match=r"1 of 2 explained images have no part .*000001.*dvc repro explain"):
        parts.check()
    parts.write(1, ROWS, ARRAYS)
    parts.check()
    assert {place.name for place in parts.folder.iterdir()} == {"000000", "000001"}
