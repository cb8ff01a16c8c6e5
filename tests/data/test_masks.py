"""Masks: what counts as inside, found by name, checked, and as shares of a map's places."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import REPOSITORY
from layershap.data.bring_masks import bring_masks, check_asked, find_masks, said
from layershap.data.images import RefusedImageError, resize
from layershap.data.masks import Masks, read_mask, read_trimap, shares
from layershap.data.sources import SourceImage, folder
from layershap.data.tables import write_table
from layershap.workspace.errors import InputError
from layershap.workspace.params import check_params, read_yaml

INSIDE = np.zeros((12, 20), bool)
INSIDE[3:9, 5:15] = True


def settings(**data):
    content = read_yaml(REPOSITORY / "params.yaml")
    content["data"] |= {"source": "folder", "path": "pictures", "masks": "masks", **data}
    return content


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_inside_is_what_is_not_black(tmp_path, mode):
    grey = Image.fromarray(INSIDE.astype(np.uint8))  # 0 and 1, as labels are
    image = {
        "1": Image.fromarray(INSIDE),
        "I;16": Image.fromarray(INSIDE.astype(np.uint16)),
        "P": grey.convert("L").quantize(2),
        "LA": Image.merge("LA", (Image.new("L", (20, 12), 255), Image.fromarray(INSIDE).convert("L"))),
        "RGBA": Image.merge("RGBA", [Image.new("L", (20, 12), 9)] * 3 + [Image.fromarray(INSIDE).convert("L")]),
        "CMYK": Image.fromarray(INSIDE).convert("RGB").convert("CMYK"),
    }.get(mode) or grey.convert(mode)
    path = tmp_path / f"mask.{'tif' if mode in ('CMYK', 'LA') else 'png'}"
    image.save(path)
    np.testing.assert_array_equal(read_mask(path), INSIDE)


def test_a_jpegs_black_is_not_quite_0(tmp_path):
    wide = np.kron(INSIDE, np.ones((5, 5), bool))
    Image.fromarray(wide).convert("L").save(tmp_path / "mask.jpg", quality=60)
    assert np.asarray(Image.open(tmp_path / "mask.jpg"))[~wide].any()
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg"), wide)


def test_a_turned_mask_is_turned_as_its_image_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(INSIDE).convert("L").save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.rot90(INSIDE, -1))


def test_of_a_trimap_the_animal_and_its_outline_are_inside(tmp_path):
    Image.fromarray(np.array([[2, 2, 3], [2, 3, 1]], np.uint8)).save(tmp_path / "a.png")
    assert read_trimap(tmp_path / "a.png").tolist() == [[False, False, True], [False, True, True]]
    Image.fromarray(np.array([[0, 2], [3, 255]], np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(RefusedImageError, match="no trimap"):
        read_trimap(tmp_path / "b.png")


@pytest.mark.parametrize("shape", [(60, 60), (60, 90), (91, 60), (45, 32)])
def test_a_mask_lies_where_the_resized_image_does(rng, shape):
    """What the network sees of a picture that is white inside and black outside, averaged to the map's places."""
    mask = np.zeros(shape, bool)
    top, left = shape[0] // 4, shape[1] // 3
    mask[top : top + shape[0] // 2, left : left + shape[1] // 3] = True
    seen = np.asarray(resize(Image.fromarray(mask).convert("RGB"), 224), float)[..., 0] / 255
    for count in (1, 2, 7, 14):
        expected = seen.reshape(count, 224 // count, count, 224 // count).mean((1, 3))
        np.testing.assert_allclose(shares(mask, count, count), expected, atol=0.04)


def test_shares_are_of_area_whatever_the_resolutions():
    mask = np.zeros((10, 14), bool)
    mask[:5, 2:] = True  # of the middle square 10 x 10, from column 2: the upper half
    np.testing.assert_allclose(shares(mask, 3, 1)[:, 0], [1, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(shares(mask, 20, 20).mean(), 0.5)
    mask[:, :7] = False
    np.testing.assert_allclose(shares(mask, 2, 2), [[0, 1], [0, 0]])


def pictures(root: Path, names: list[str], size=(20, 12)) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 60, 30)).save(root / name)


def masks(root: Path, names: list[str], mask=INSIDE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / name)


def images_table(images: list[SourceImage]) -> pd.DataFrame:
    return pd.DataFrame({"path": [image.target for image in images], "width": 20, "height": 12})


def test_masks_are_found_by_name_with_any_suffix(project):
    pictures(project / "pictures", ["cat/a.jpg", "cat/b.png", "dog/a.jpg", "dog/c.jpg"])
    masks(project / "masks", ["cat/a.png", "cat/b.png", "dog/a.tif", "dog/nobody.png"])
    images = folder(project / "pictures")
    found = find_masks(check_params(settings()).data, images, project)
    assert {path: mask.as_posix() for path, mask in found.files.items()} == {
        "cat/a.jpg": "masks/cat/a.png", "cat/b.png": "masks/cat/b.png", "dog/a.jpg": "masks/dog/a.tif",
    }  # fmt: skip
    table = bring_masks(found, images_table(images), project / "out")
    write_table(project / "out" / "masks.csv", table)
    brought = Masks(project / "out")
    np.testing.assert_array_equal(brought.of("cat/a.jpg"), INSIDE)
    assert brought.areas["dog/a.jpg"] == pytest.approx(60 / 144)  # of the middle square, all 10 columns of it
    assert brought.of("dog/c.jpg") is None
    assert said(found, table, 4) == [
        "3 of 4 images have a mask; those without are left out of what lies inside",
        "1 pictures in data.masks have no image's name, masks/dog/nobody.png the first",
    ]


def test_masks_are_found_beside_a_split_that_the_source_brings(project):
    pictures(project / "pictures", ["train/cat/a.jpg", "test/cat/a.jpg", "train/dog/a.jpg", "test/dog/a.jpg"])
    masks(project / "masks", ["test/cat/a.png", "dog/test/a.png"])  # as data.path has it, and as data/images.csv
    found = find_masks(check_params(settings()).data, folder(Path("pictures")), project)
    assert set(found.files) == {"cat/test/a.jpg", "dog/test/a.jpg"}


def wrong(project, mask=INSIDE, size=(20, 12)) -> str:
    pictures(project / "pictures", ["cat/a.jpg", "dog/a.jpg"], size)
    masks(project / "masks", ["cat/a.png"], mask)
    images = folder(project / "pictures")
    found = find_masks(check_params(settings()).data, images, project)
    with pytest.raises(InputError) as error:
        bring_masks(found, images_table(images), project / "out")
    return str(error.value)


def test_another_size_than_the_images_is_named_with_both(project):
    assert "masks/cat/a.png has 10 x 6 pixels and its image cat/a.jpg 20 x 12" in wrong(project, INSIDE[::2, ::2])


@pytest.mark.parametrize(("value", "words"), [(True, "marks everything"), (False, "marks nothing")])
def test_a_mask_that_marks_all_or_nothing_is_named(project, value, words):
    said = wrong(project, np.full((12, 20), value))
    assert f"data.masks: 1 mask cannot be used: masks/cat/a.png {words}" in said


def test_a_file_that_is_no_image_is_named(project):
    masks(project / "masks", ["cat/a.png"])
    pictures(project / "pictures", ["cat/a.jpg", "dog/a.jpg"])
    (project / "masks" / "cat" / "a.png").write_text("no image")
    found = find_masks(check_params(settings()).data, folder(project / "pictures"), project)
    with pytest.raises(InputError, match=r"masks/cat/a.png: cannot be read as an image"):
        bring_masks(found, images_table(folder(project / "pictures")), project / "out")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat/a.png", "cat/a.tif"], "are both named as cat/a.jpg; keep one"),
        (["kitten/a.png"], "none of the 1 pictures in masks has an image's name: kitten/a.png is there, and cat/a.png"),
    ],
)
def test_names_that_do_not_fit(project, names, words):
    pictures(project / "pictures", ["cat/a.jpg", "dog/a.jpg"])
    masks(project / "masks", names)
    with pytest.raises(InputError) as error:
        find_masks(check_params(settings()).data, folder(project / "pictures"), project)
    assert words in str(error.value)


def test_the_folder_that_the_project_comes_with_has_none(project):
    (project / "masks").mkdir()
    (project / "masks" / "README.md").write_text("none yet")
    found = find_masks(check_params(settings()).data, [SourceImage(Path("a.jpg"), "cat")], project)
    assert not found.files and said(found, pd.DataFrame(), 1) == []
    with pytest.raises(InputError, match=r"data.masks: no folder elsewhere"):
        find_masks(check_params(settings(masks="elsewhere")).data, [], project)


def test_oxford_pets_brings_its_trimaps(project):
    trimaps = project / "oxford-iiit-pet" / "annotations" / "trimaps"
    trimaps.mkdir(parents=True)
    Image.fromarray(np.where(INSIDE, 1, 2).astype(np.uint8)).save(trimaps / "tabby_1.png")
    Image.fromarray(np.full((12, 20), 3, np.uint8)).save(trimaps / "tabby_2.png")  # all of it: left out later, no error
    (project / "masks").mkdir()
    images = [SourceImage(Path(f"images/tabby_{number}.jpg"), "cat") for number in (1, 2, 3)]
    found = find_masks(check_params(settings(source="oxford_pets")).data, images, project)
    table = bring_masks(found, images_table(images), project / "out")
    write_table(project / "out" / "masks.csv", table)
    brought = Masks(project / "out")
    np.testing.assert_array_equal(brought.of("cat/tabby_1.jpg"), INSIDE)
    assert brought.areas["cat/tabby_2.jpg"] == 1 and brought.of("cat/tabby_2.jpg") is None


def test_a_share_that_is_asked_for_without_masks_is_named_before_any_work(project):
    (project / "masks").mkdir()
    content = settings()
    content["gate"]["min_inside"] = 0.5
    with pytest.raises(InputError, match=r"gate.min_inside = 0.5 .* data.masks \(masks\) has no masks"):
        check_asked(check_params(content))
    masks(project / "masks", ["cat/a.png"])
    check_asked(check_params(content))
