"""Two models on the same test images: against hand-computed values, and against scikit-learn on all images."""

import numpy as np
import pandas as pd
import pytest

from layershap.judging.evaluation import evaluate_predictions
from layershap.judging.paired import aligned, area_under_curve, intervals, measures, paired, two_sided


def table(labels, probabilities, classes=("a", "b")):
    names = np.array(classes)
    found = pd.DataFrame({"path": [f"{number}.png" for number in range(len(labels))], "label": names[labels]})
    found["predicted"] = names[np.argmax(probabilities, 1)]
    found["correct"] = (found["label"] == found["predicted"]).astype(int)
    found["pixels"] = [f"{number:08x}" for number in range(len(labels))]
    for number, name in enumerate(classes):
        found[f"p_{name}"] = np.asarray(probabilities)[:, number]
    return found


@pytest.mark.parametrize(
    ("lost", "gained", "p_value"),
    [(3, 1, 2 * 5 / 16), (1, 3, 2 * 5 / 16), (0, 5, 2 / 32), (1, 1, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(lost, gained, p_value):
    assert two_sided(lost, gained) == pytest.approx(p_value)


def test_area_by_hand():
    # positive 0.8 stands above both others, positive 0.4 above none and beside one: 2.5 of 4 pairs
    positive, score = np.array([True, True, False, False]), np.array([0.8, 0.4, 0.6, 0.4])
    weights = np.array([[1.0, 1, 1, 1], [2, 1, 1, 1], [0, 0, 2, 2]])
    assert area_under_curve(positive, score, weights) == pytest.approx([2.5 / 4, 4.5 / 6, np.nan], nan_ok=True)


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_every_number_is_the_one_that_is_evaluated(rng, classes):
    labels = rng.integers(0, len(classes), 60)
    probabilities = rng.dirichlet(np.ones(len(classes)), 60)
    wanted = evaluate_predictions(labels, probabilities, classes)
    found = measures(table(labels, probabilities, classes), np.ones((1, 60)))
    for name, values in found.items():
        plain = wanted
        for part in name.split("/"):
            plain = plain[part]
        assert values[0] == pytest.approx(plain, abs=1e-9), name
    assert len(found) == 6 + 3 * len(classes)


def test_weights_are_images_that_count_several_times(rng):
    labels, probabilities = np.array([0, 1, 0, 1, 1]), rng.dirichlet(np.ones(2), 5)
    often = [0, 1, 1, 2, 3, 3, 3, 4]
    weights = np.bincount(often, minlength=5)[None].astype(float)
    found = measures(table(labels, probabilities), weights)
    wanted = measures(table(labels[often], probabilities[often]), np.ones((1, len(often))))
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {name: values[0] for name, values in wanted.items()}
    )


def test_the_interval_of_one_image_more_in_four():
    # the difference is how often that image is drawn, of four: Binomial(4, 1/4), whose quantiles are 0 and 3
    labels, right, wrong = [0, 1, 0, 1], [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], [0.9, 0.1]
    before = table(labels, [*right[:3], wrong])
    after = table(labels, right)
    assert intervals(before, after, 2000, 0)["accuracy"] == (0.0, 0.75)
    assert intervals(after, before, 2000, 0)["accuracy"] == (-0.75, 0.0)


def test_lost_and_gained():
    before = table([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.1, 0.9]])
    after = table([0, 0, 1, 1], [[0.4, 0.6], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    found = paired(before, after)
    assert (found.images, found.lost, found.gained, found.p_value) == (4, 1, 2, 1.0)


def test_the_same_draws_whatever_fits_into_memory(monkeypatch, rng):
    before, after = (table(rng.integers(0, 2, 30), rng.dirichlet(np.ones(2), 30)) for _ in range(2))
    whole = intervals(before, after, 100, 0)
    monkeypatch.setattr("layershap.judging.paired.CELLS", 30 * 7)
    for name, interval in intervals(before, after, 100, 0).items():
        assert interval == pytest.approx(whole[name]), name


def test_images_are_known_by_their_pixels(rng):
    before = table([0, 1, 0, 1], rng.dirichlet(np.ones(2), 4))
    other = before.sample(frac=1, random_state=1).assign(path=lambda rows: "moved/" + rows["path"])
    one, two = aligned(before, other)
    assert one["pixels"].tolist() == two["pixels"].tolist() == before["pixels"].tolist()
    assert two["path"].tolist() == ("moved/" + before["path"]).tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.iloc[1:],
        lambda rows: rows.assign(pixels=["ffffffff", *rows["pixels"][1:]]),
        lambda rows: rows.assign(label=["b", *rows["label"][1:]]),
        lambda rows: rows.rename(columns={"p_b": "p_c"}),
        lambda rows: pd.concat([rows, rows.iloc[:1]]),
    ],
)
def test_other_test_images_are_not_paired(rng, change):
    before = table([0, 1, 0, 1], rng.dirichlet(np.ones(2), 4))
    assert aligned(before, before) is not None
    assert aligned(before, change(before)) is None
