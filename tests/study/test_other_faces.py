"""The experiments on networks of which it is known what they must find."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from layershap.explain import Chain, explain_layers
from layershap.study.expectations import EXPERIMENTS, Results
from layershap.study.other_faces import (
    Materials,
    Outlines,
    example,
    explained_share,
    reference_share,
    sets_of_references,
    single_references,
)
from layershap.study.other_faces_results import results_text, summarise

SIZE = 28


def smooth(count, seed):
    """Images [count, 3, SIZE, SIZE] in 0..1 of blobs at random places, so that each has outlines of its own."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator)
    images = nn.functional.interpolate(coarse, size=SIZE, mode="nearest")
    shifts = torch.randint(SIZE, (count, 2), generator=generator).tolist()
    return torch.stack([image.roll(shift, (1, 2)) for image, shift in zip(images, shifts, strict=True)])


class Weigh(nn.Module):
    """Sum over pixels, as logits of two classes."""

    def forward(self, features):
        total = features.sum((1, 2, 3))
        return torch.stack([-total / 2, total / 2], 1)


def materials(layers):
    model = Chain(layers, Weigh()).eval()
    candidates, references = smooth(20, 1), smooth(8, 2)
    return Materials(
        model,
        model,
        candidates,
        np.arange(20) % 2,
        references,
        np.arange(8) % 2,
        candidates.mean(0, keepdim=True),
        segments=2,
        output="margin",
    )


def edge_detector():
    """|differences to the right|, whose sum is f: every map is (own outlines - the reference's), feature by feature."""
    conv = nn.Conv2d(3, 2, (1, 2), padding=(0, 1), bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(2, 1, 1, 2).expand(2, 3, 1, 2) / 3)
    return nn.Sequential(conv, nn.ReLU())


def rows_of(used, image, label=0):
    generator = np.random.default_rng(0)
    single = list(single_references(image, label, used, Outlines(used.candidates), generator))
    frame = pd.DataFrame(
        [*single, *sets_of_references(image, label, used, generator)],
        columns=["experiment", "name", "measure", "value"],
    )
    return frame.set_index(["experiment", "measure", "name"])["value"]


def test_a_map_of_outlines_gives_its_reference_away():
    used = materials([("outlines", edge_detector())])
    found = [rows_of(used, image[None], label=number % 2) for number, image in enumerate(smooth(6, 3))]
    mean = pd.concat(found).groupby(level=[0, 1, 2]).mean()
    for experiment in ("a same", "a other", "a image path", "g", "h"):
        assert mean[experiment, "auc", "outlines"] > 0.9, experiment
    for experiment in ("a same", "a other"):
        assert mean[experiment, "auc reference", "outlines"] > 0.9
    # the own part of this network holds nothing of the reference; nor do maps without a reference's outlines
    for experiment, measure in (("a other", "auc own"), ("g", "auc unflipped"), ("d mean", "auc"), ("d blur", "auc")):
        assert mean[experiment, measure, "outlines"] < 0.7, (experiment, measure)
    assert mean["c", "others 1", "outlines"] > 1.5 * mean["c", "others 4", "outlines"]
    assert mean["c", "own 1", "outlines"] == pytest.approx(mean["c", "own 4", "outlines"], rel=0.2)
    assert mean["i", "largest value", "outlines"] == 0
    assert mean["f", "gain", "outlines"] > 0.01
    assert mean["f", "change", "outlines"] > 0.05


def test_a_map_of_differences_gives_its_reference_away_by_difference():
    used = materials([("pixels", nn.Identity())])
    found = rows_of(used, smooth(1, 3))
    # the map is x - x', summed over colours: not the same as the mean |x - x'|, but closer to it than to any other's
    assert found["a other", "auc difference", "pixels"] == 1
    assert found["b", "correlation own", "pixels"] == pytest.approx(1)


def test_shares_of_own_and_reference_part_add_to_one():
    used = materials([("outlines", edge_detector())])
    found = explain_layers(used.model, smooth(1, 3), used.references)["outlines"]
    heatmap, own = found.heatmap.double().flatten(), found.own.double().flatten()
    share = float(torch.cov(torch.stack([heatmap, own]))[0, 1] / heatmap.var())
    assert reference_share(found) + share == pytest.approx(1, abs=1e-5)


def test_a_pattern_explains_its_own_share():
    generator = np.random.default_rng(0)
    pattern, control, rest = (part - part.mean() for part in generator.normal(size=(3, 5000)))
    heatmap = 2 * pattern + 3 * control + 1 * rest
    assert explained_share(heatmap, pattern[None], control[None]) == pytest.approx(4 / 14, abs=0.03)
    assert np.isnan(explained_share(np.ones(5000), pattern[None], control[None]))


def test_the_example_has_every_kind_at_every_layer():
    shown = example(smooth(1, 3), 0, materials([("pixels", nn.Identity()), ("outlines", edge_detector())]))
    assert shown.image.shape == shown.reference.shape == (SIZE, SIZE, 3)
    for kind, maps in shown.maps.items():
        assert list(maps) == ["pixels", "outlines"], kind
    difference = shown.maps["own part"]["pixels"] - shown.maps["reference part"]["pixels"]
    np.testing.assert_allclose(difference, shown.maps["map"]["pixels"], atol=1e-5)


@pytest.fixture(scope="module")
def table():
    used = materials([("pixels", nn.Identity()), ("outlines", edge_detector())])
    frames = []
    for number, image in enumerate(smooth(3, 3)):
        rows = rows_of(used, image[None], number % 2).reset_index()
        frames.append(rows.assign(image=str(number)))
    return summarise(pd.concat(frames), {"pixels": 2, "outlines": 3}, 10)


def test_the_table_has_means_intervals_and_corrected_p_values(table):
    assert (table["low"] <= table["mean"] + 1e-12).sum() + table["low"].isna().sum() == len(table)
    chance = table["measure"].str.startswith(("auc", "top 1"))
    assert table.loc[chance, "p_holm"].between(0, 1).all()
    assert table.loc[~chance, "p_holm"].isna().all()
    assert {"slope others", "slope own", "slope spread"} <= set(table["measure"])
    assert set(table["layer"]) == {2, 3}


def test_every_experiment_says_what_was_expected_and_what_came(table):
    text = results_text(table)
    for experiment in EXPERIMENTS:
        assert experiment.expected in text
        verdict = Results(table).verdict(experiment)
        section = text.split(experiment.title, 1)[1].split("### ", 1)[0]
        assert f"**{verdict}**" in section
        assert "| 3 outlines |" in section


def test_an_expectation_can_fail(table):
    changed = table.copy()
    changed.loc[changed["experiment"] == "i", "mean"] = 1e-9
    (last,) = (experiment for experiment in EXPERIMENTS if experiment.key == "i")
    assert Results(table).verdict(last) == "as expected"
    assert Results(changed).verdict(last) == "not as expected"
    changed.loc[changed["experiment"] == "i", "mean"] = np.nan
    assert Results(changed).verdict(last) == "cannot be told"
