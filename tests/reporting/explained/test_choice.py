import numpy as np
import pandas as pd
import pytest

from layershap.reporting.explained.choice import choose_images
from layershap.reporting.explained.images import images_table, picture_order

CLASSES = ["1", "2", "10"]


def predictions(seed, sizes=(9, 5, 2), accuracy=0.6):
    """Return the table of a model that decides by chance; the images are the same for each `seed`."""
    rng = np.random.default_rng(7)
    labels = np.repeat(CLASSES, sizes)
    digests = rng.permutation(len(labels))
    table = pd.DataFrame({"path": [f"{label}/{number:03d}.png" for number, label in enumerate(labels)]})
    table["label"] = labels
    model = np.random.default_rng(seed)
    wrong = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in labels]
    table["predicted"] = np.where(model.random(len(labels)) < accuracy, labels, wrong)
    table["correct"] = (table["label"] == table["predicted"]).astype(int)
    table["pixels"] = [f"{digest:016x}" for digest in digests]
    for name in CLASSES:
        table[f"p_{name}"] = np.where(table["predicted"] == name, 0.8, 0.1)
    return table


def test_two_models_are_explained_on_the_same_images():
    one, other = (choose_images(predictions(seed), 7, 0, None) for seed in (1, 2))
    assert one["correct"].tolist() != other["correct"].tolist()
    assert one["path"].tolist() == other["path"].tolist()
    assert set(one["chosen"]) == {"image"}


def test_classes_come_in_turn_and_within_one_by_digest_until_it_runs_out():
    table = choose_images(predictions(1), None, 0, None)
    assert table["label"].tolist()[:8] == ["1", "2", "10", "1", "2", "10", "1", "2"]
    assert len(table) == 16 and table["path"].is_unique
    for _, part in table.groupby("label"):
        assert part["pixels"].is_monotonic_increasing
    assert choose_images(predictions(1), 4, 0, None)["path"].tolist() == table["path"].tolist()[:4]


def test_the_order_of_the_predictions_says_nothing():
    table = predictions(1)
    mixed = table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(choose_images(mixed, 5, 3, 4), choose_images(table, 5, 3, 4))


def test_mistakes_come_besides_and_are_marked():
    table = choose_images(predictions(1), 4, 3, None)
    assert table["chosen"].tolist() == ["image"] * 4 + ["mistake"] * 3
    assert not table["correct"][4:].any()
    assert table["path"].is_unique
    assert table["path"].tolist()[:4] == choose_images(predictions(2), 4, 3, None)["path"].tolist()[:4]


def test_there_may_be_fewer_than_asked_for():
    everything = choose_images(predictions(1), 1000, 1000, 1000)
    assert len(everything) == 16
    assert everything["picture"].all()
    right = choose_images(predictions(1, accuracy=1.1), 4, 2, None)
    assert len(right) == 4
    alone = choose_images(predictions(1, sizes=(3, 0, 0)), 2, 0, None)
    assert set(alone["label"]) == {"1"}


def test_where_all_are_explained_some_mistakes_among_them_still_get_pictures():
    table = choose_images(predictions(1), None, 2, 3)
    wrong = table[table["chosen"] == "mistake"]
    assert wrong["path"].tolist() == table[table["correct"] == 0]["path"].tolist()[:2]
    assert table["path"].tolist() == choose_images(predictions(2), None, 0, None)["path"].tolist()
    assert wrong["picture"].all() and table["picture"].sum() == 3


@pytest.mark.parametrize(
    ("pictures", "mistakes", "images"), [(1, 1, 0), (2, 1, 1), (3, 2, 1), (5, 2, 3), (6, 2, 4), (None, 2, 10)]
)
def test_mistakes_are_among_few_pictures(pictures, mistakes, images):
    table = choose_images(predictions(3, accuracy=0.4), 10, 2, pictures)
    shown = table[table["picture"] == 1]["chosen"].value_counts()
    assert (shown.get("mistake", 0), shown.get("image", 0)) == (mistakes, images)
    order = picture_order(table)
    assert sorted(order) == list(range(12))
    assert [table["chosen"][place] for place in order[:5]] == ["mistake", "image", "mistake", "image", "image"]


def test_the_table_has_the_names_of_the_pictures_and_how_sure_the_model_was():
    table = predictions(1)
    found = images_table(choose_images(table, 3, 1, 2), table)
    assert found["name"].tolist() == [path.replace("/", "-").removesuffix(".png") for path in found["path"]]
    assert (found["probability"] == 0.8).all()
    assert found["picture"].sum() == 2
    assert list(found) == ["name", "path", "label", "predicted", "correct", "probability", "chosen", "picture"]
