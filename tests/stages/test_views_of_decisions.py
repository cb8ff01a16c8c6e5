"""evaluate.views, as it is run: evaluation, the served model and the reports use and name the same views."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from layershap.data.features import load_batch
from layershap.model.classifier import load_classifier
from layershap.serving.predictor import Predictor
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SAID = (
    "average the probabilities of 2 views: the image as it is and flipped horizontally. Explanations are of the image"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), count=16)
    project.change("evaluate.views", 2)
    project.change("trainer.accelerator", "cpu")
    project.run("dvc", "repro")
    return project


def test_metrics_card_and_reports_say_which_views(project):
    metrics = json.loads((project.root / "metrics" / "evaluate.json").read_text())
    assert metrics["views"] == 2
    assert metrics["cache_difference"] < 0.01  # of the image as it is: the mean is compared with nothing
    assert json.loads((project.root / "models" / "model.json").read_text())["views"] == 2
    for name in ("report.html", "model_card.md"):
        assert SAID in (project.root / "reports" / name).read_text()


def test_evaluation_and_the_served_model_average_the_same_probabilities(project):
    table = pd.read_csv(project.root / "plots" / "predictions.csv")
    models = project.root / "models"
    images = load_batch([project.root / "data" / "raw" / path for path in table["path"]], 64)
    network, description = load_classifier(models / "model.pt", models / "model.json")
    with torch.inference_mode():
        plain, flipped = (network(view).softmax(1).numpy() for view in (images, images.flip(3)))
    found = table[[f"p_{name}" for name in description.classes]].to_numpy()
    np.testing.assert_allclose(found, (plain + flipped) / 2, atol=1e-5)
    assert np.abs(found - plain).max() > 1e-3
    served = Predictor(models).predict(images)
    np.testing.assert_allclose([list(one.probabilities.values()) for one in served], found, atol=1e-5)


def test_the_command_says_that_it_explains_the_image_as_it_is(project):
    (file,) = sorted((project.root / "data" / "raw").rglob("*.png"))[:1]
    done = project.run("layershap", "explain", str(file), "--layer", "2")
    assert "decisions average 2 views; explanations are of the image as it is" in done.stdout
