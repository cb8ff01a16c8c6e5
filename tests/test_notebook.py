"""docs/explain_a_network.ipynb runs as it is written, and what is stored in it is small and whole."""

import base64
import io
import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from conftest import REPOSITORY

FILE = REPOSITORY / "docs" / "explain_a_network.ipynb"
CELLS = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]

# each cell in one namespace; what its last line gives is what a notebook would show
RUNNER = """
import ast, json, sys
import layershap.torchvision_guard  # a torchvision of another build than torch
names, shown = {}, []
for cell in json.load(sys.stdin):
    *body, last = ast.parse(cell).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
figure, gap = shown
titles = [axis.get_title().split("\\n")[0] for axis in figure.axes]
found = {"picture": figure._repr_png_()[1:4].decode(), "titles": titles, "gap": gap, "layers": list(names["result"])}
found["size"] = min(float(layer.heatmap.abs().sum()) for layer in names["result"].values())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(CODE), cwd=tmp_path_factory.mktemp("notebook"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_ends_with_a_picture_of_every_layer(found):
    assert found["picture"] == "PNG"
    assert len(found["layers"]) >= 9
    assert found["titles"][: 1 + len(found["layers"])] == ["input", *found["layers"]]


def test_its_sums_hold(found):
    assert found["gap"] < 1e-4 * found["size"]


def test_what_its_text_names_is_there(found):
    text = "".join(line for cell in CELLS if cell["cell_type"] == "markdown" for line in cell["source"])
    named = re.findall(r'result\["([^"]+)"\]', text)
    assert named and set(named) <= set(found["layers"])
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (FILE.parent / target).exists(), target


def test_ten_lines_explain_a_network():
    lines = [line for line in CODE[0].splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 10


def test_what_is_stored_is_small_and_whole():
    assert FILE.stat().st_size < 300_000
    pictures = []
    for cell in (cell for cell in CELLS if cell["cell_type"] == "code"):
        (output,) = cell["outputs"]
        assert output["output_type"] == "execute_result"
        assert "".join(output["data"]["text/plain"])
        pictures += [output["data"]["image/png"]] if "image/png" in output["data"] else []
    (picture,) = pictures
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 1000
