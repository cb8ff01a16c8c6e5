"""Row 23: a shallow clone without a remote has what the gate needs, which loads neither torch nor MLflow."""

import os
import subprocess
import sys

import pytest

from conftest import REPOSITORY

MODULES = ("torch", "mlflow", "pandas", "matplotlib")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    root = tmp_path_factory.mktemp("shallow") / "clone"
    address = f"file://{REPOSITORY}"
    done = subprocess.run(["git", "clone", "-q", "--depth", "1", address, str(root)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git repository: nothing to clone")
    return root


def gate(root, *code):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    return subprocess.run(
        [sys.executable, "-c", *code], cwd=root, capture_output=True, text=True, env=environment, check=False
    )


def test_the_gate_judges_what_is_committed(clone):
    code = "import sys; sys.argv[1:] = ['gate', '--check']; from layershap.cli import main; main()"
    done = gate(clone, code)
    assert done.returncode in (0, 1), done.stderr
    assert "gate: " in done.stdout
    assert subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True).stdout == b""


def test_it_loads_nothing_slow(clone):
    code = (
        "import atexit, sys; sys.argv[1:] = ['gate', '--check']\n"
        f"atexit.register(lambda: print([name for name in {MODULES} if name in sys.modules]))\n"
        "from layershap.cli import main; main()"
    )
    done = gate(clone, code)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_what_needs_the_model_says_how_to_make_it(clone):
    code = "import sys; sys.argv[1:] = ['explain', 'x.png']; open('x.png', 'w'); from layershap.cli import main; main()"
    done = gate(clone, code)
    assert done.returncode == 3
    assert "dvc repro" in done.stderr
    assert "Traceback" not in done.stderr
