import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import REPOSITORY


def layershap(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"}
    return subprocess.run(
        [sys.executable, "-m", "layershap.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("stage", ["fetch", "split", "extract", "train", "evaluate", "explain", "gate"])
def test_bad_settings_stop_every_stage_before_any_work(project, stage):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        text.replace("  epochs: ", "  epochs: -").replace("data:\n", "data:\n  sauce: 1\n")
    )
    done = layershap(project, stage)
    assert done.returncode == 2
    assert "train.epochs" in done.stderr
    assert "data.sauce" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in project.iterdir()) == ["dvc.yaml", "params.yaml"]


def test_missing_input_is_named_without_a_traceback(project):
    done = layershap(project, "gate")
    assert (done.returncode, "metrics/evaluate.json" in done.stdout, "Traceback" in done.stderr) == (3, True, False)


def test_a_stage_before_its_time_names_what_it_needs(project):
    done = layershap(project, "split")
    assert (done.returncode, "data/images.csv" in done.stderr, "Traceback" in done.stderr) == (3, True, False)


@pytest.mark.parametrize("address", ["x y", "javascript:alert(1)", "https://a> [b](c"])
def test_an_address_of_pictures_is_one(project, address):
    done = layershap(project, "compare", "HEAD", "--markdown", "report.md", "--pictures", address)
    assert (done.returncode, address in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_outside_a_project(tmp_path):
    done = layershap(tmp_path, "check")
    assert (done.returncode, "no dvc.yaml" in done.stderr) == (2, True)


def test_help_works_anywhere(tmp_path):
    done = layershap(tmp_path, "--help")
    assert done.returncode == 0
    assert "explain" in done.stdout


def test_unknown_command(tmp_path):
    assert layershap(tmp_path, "explode").returncode == 2


def test_the_command_line_imports_nothing_slow(project):
    code = "import sys, layershap.cli, layershap.stages.gate; print('torch' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_without_git_one_line_says_what_to_do(project):
    """R7."""
    done = layershap(project, "repro")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "git init" in done.stderr


IN_A_STATEMENT = """
import sqlalchemy
from layershap import cli

MANY = "with recursive m(n) as (select 1 union all select n + 1 from m where n < 3000000) select n from m"

def read_rows(**_):
    connection = sqlalchemy.create_engine("sqlite:///some.db").connect()
    with connection, connection.execute(sqlalchemy.text(MANY)) as rows:
        print("reading", flush=True)
        rows.fetchall()

cli.cli.main = read_rows
cli.main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_statement_is_no_traceback(tmp_path, number, status):
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_STATEMENT], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "reading\n"
    time.sleep(0.2)
    assert process.poll() is None  # it reads rows, in a call that a signal waits for
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status
    assert said == ""
