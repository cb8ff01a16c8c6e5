"""What `pip install layershap` brings: an environment with torch and numpy alone runs the engine, `[plots]` draws."""

import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CODE = """
import importlib.util
import torch
from torch import nn
from layershap.explain import Chain, explain_layers

layers = [("conv", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), ("pool", nn.MaxPool2d(2))]
model = Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(36, 2))).eval()
result = explain_layers(model, torch.rand(2, 3, 8, 8), torch.rand(3, 3, 8, 8))
for layer in result.values():
    assert layer.heatmap.shape[0] == 2 and float(layer.gap.abs().max()) < 1e-5
try:
    assert result.plot(torch.rand(3, 8, 8), index=1)._repr_png_()[1:4] == b"PNG"
except ImportError as error:
    print(error)
others = ["mlflow", "dvc", "pandas", "matplotlib", "numba", "torchvision", "shap", "pytorch_lightning", "scipy"]
print([name for name in others if importlib.util.find_spec(name)])
"""


def needed(name: str, found: set[str]) -> set[str]:
    """Return a distribution and what it needs, extras apart, as far as it is installed."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        try:
            requires = distribution(key).requires or []
        except ModuleNotFoundError:
            return found
        found.add(key)
        for line in requires:
            if "extra ==" not in line:
                needed(re.match(r"[\w.-]+", line)[0], found)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(source)], check=True)
    options = ["-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    return next(folder.glob("layershap-*.whl"))


def run_with(names: list[str], wheel: Path, tmp_path: Path) -> list[str]:
    """Return the lines that CODE prints where the package and `names`, with what they need, are all there is."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "own")], check=True)
    site = next((tmp_path / "own").glob("lib/python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    found: set[str] = set()
    for name in names:
        needed(name, found)
    for name in found:  # from this environment
        tops = {file.parts[0] for file in distribution(name).files or [] if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            place = Path(distribution(name).locate_file(top))
            if place.exists() and not (site / top).exists():
                (site / top).symlink_to(place)
    python = tmp_path / "own" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", CODE], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_engine_runs_with_torch_and_numpy_alone(wheel, tmp_path):
    lines = run_with(["torch", "numpy"], wheel, tmp_path)
    assert lines == ["pictures need matplotlib: pip install 'layershap[plots]'", "[]"]


def test_with_matplotlib_beside_them_it_draws(wheel, tmp_path):
    assert run_with(["torch", "numpy", "matplotlib"], wheel, tmp_path) == ["['matplotlib']"]


def test_it_asks_for_torch_and_numpy_alone(wheel):
    with zipfile.ZipFile(wheel) as content:
        for name in ("layershap/py.typed", "layershap/reporting/templates/report.html.j2", "licenses/LICENSE"):
            assert any(file.endswith(name) for file in content.namelist()), name
        name = next(name for name in content.namelist() if name.endswith("METADATA"))
        lines = content.read(name).decode().splitlines()
    plain = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert sorted(re.match(r"Requires-Dist: ([\w-]+)", line)[1] for line in plain) == ["numpy", "torch"]
