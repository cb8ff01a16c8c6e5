"""The whole pipeline on networks by their own names: torchvision's, timm's, a function of the user's."""

import json

import numpy as np
import pandas as pd
import pytest

from layershap.reporting.explained.stored import StoredMaps
from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

OWN = '''
"""Three convolutions, one of them called twice, and a gate between."""
from torch import nn


class Small(nn.Module):
    def __init__(self, act=nn.ReLU):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = act()
        self.fc = nn.Linear(6, 5)

    def forward(self, images):
        x = self.act(self.norm(self.stem(images)))
        x = self.act(self.twice(x))
        x = self.act(self.twice(x))
        return self.fc(x.mean((2, 3)))


def build():
    return Small()


build.image_size = 40
build.mean = (0.4, 0.4, 0.4)
build.std = (0.3, 0.3, 0.3)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"), np.random.default_rng(0), count=12)
    package = project.root / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(OWN)
    project.commit()
    for name, value in {"train.epochs": 1, "model.weights": "random", "explain.segments": 1}.items():
        project.change(name, value)
    return project


def check(project, layers: int) -> dict:
    """Compare what a run wrote with what every network must give, and return the model's card."""
    explained = json.loads((project.root / "metrics" / "explain.json").read_text())
    assert explained["largest_relative_gap"] <= 1e-3
    card = json.loads((project.root / "models" / "model.json").read_text())
    assert explained["layers"] == layers
    assert explained["maps"] == explained["images"] * layers
    table = pd.read_csv(project.root / "plots" / "layers.csv")
    assert len(table) == explained["images"] * layers
    stored = StoredMaps(project.root / "explanations")
    assert len(stored.names) == explained["images"]
    for name in stored.names:
        assert len(list((project.root / "explanations" / name).glob("layer_*.png"))) == layers
    for number in range(2, layers + 2):
        maps = stored.maps(number)
        assert maps.ndim == 3 and len(maps) == len(stored.names) and np.isfinite(maps).all()
    assert len(list(stored.folder.glob("*_heatmap.npy"))) == layers
    return card


@pytest.mark.parametrize(("name", "layers"), [("resnet50", 18), ("timm/convnext_atto", 16)])
def test_networks_of_maps(project, name, layers):
    project.change("model.backbone", name)
    project.change("model.image_size", 64)
    project.run("dvc", "repro", "report")
    card = check(project, layers)
    assert card["image_size"] == 64
    assert name in (project.root / "reports" / "report.html").read_text()


def test_a_network_of_tokens_at_a_size_that_is_not_its_own(project):
    project.change("model.backbone", "timm/vit_tiny_patch16_224")
    project.change("model.image_size", 64)
    project.change("head.pool", 1)
    project.run("dvc", "repro", "report")
    card = check(project, 13)
    assert card["layers"][-4]["shape"] == [2 * 192]  # the mean of 4 x 4 tokens, and the class token
    assert pd.read_csv(project.root / "plots" / "layers.csv")["prefix"].abs().max() > 0


def test_chosen_layers(project):
    project.change("model.backbone", "timm/convnext_atto")
    project.change("head.pool", 0)
    project.change("model.layers", ["stages.*.downsample"])
    project.run("dvc", "repro", "report")
    card = check(project, 4)
    names = [row["name"] for row in card["layers"]]
    assert names[1:5] == [f"stages.{number}.downsample" for number in (1, 2, 3)] + ["stages.3.blocks.1"]


def test_a_function_of_the_users_is_recorded_and_served_and_watched(project):
    project.change("model.layers", None)
    project.change("model.image_size", None)
    project.change("model.backbone", "my_package.networks:build")
    project.change("model.weights", "own")
    refused = project.run("layershap", "check", expect=2)
    assert "model.code" in refused.stderr
    assert "set it to my_package" in refused.stderr
    project.change("model.code", "my_package")
    project.run("dvc", "repro")
    card = check(project, 3)
    assert card["image_size"] == 40
    assert [row["name"] for row in card["layers"][1:4]] == ["stem", "twice", "twice:2"]
    (run,) = [run for run in project.runs() if run.data.params["model.backbone"].startswith("my_package")]
    assert any("twice-2" in name for name in project.artifacts(run))
    # the served model brings the function along
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    version = next(iter(project.client().search_model_versions(f"run_id = '{run.info.run_id}'")))
    code = (
        "import os, mlflow, pandas as pd\n"
        f"os.chdir({str(elsewhere)!r})\n"
        f"mlflow.set_tracking_uri('sqlite:///{project.root / 'mlflow.db'}')\n"
        f"model = mlflow.pyfunc.load_model('models:/{version.name}/{version.version}')\n"
        f"image = open({str(next(project.root.glob('pictures/disc/*.png')))!r}, 'rb').read()\n"
        "answer = model.predict(pd.DataFrame({'image': [image]}), params={'layers': 'twice:2'})\n"
        "print(answer['explanation'][0][0]['name'])\n"
    )
    (elsewhere / "ask.py").write_text(code)
    done = project.run("python", str(elsewhere / "ask.py"), PYTHONSAFEPATH="1")
    assert done.stdout.splitlines()[-1] == "twice:2"
    # an edit of the function runs the stages again
    path = project.root / "my_package" / "networks.py"
    path.write_text(path.read_text().replace("act=nn.ReLU", "act=nn.Tanh"))
    changed = json.loads(project.run("dvc", "status", "--json").stdout)
    assert {"extract", "train", "evaluate", "explain"} <= set(changed)
