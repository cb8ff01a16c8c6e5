"""Row 11: the store's first use by four processes at once, and a kill while it is made."""

import subprocess
import sys
import time

import pytest
from mlflow.tracking import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CODE = (
    "from pathlib import Path; import sys; from layershap.tracking.runs import open_run\n"
    "run = open_run(sys.argv[1], Path('work') / sys.argv[1])\n"
    "run.log_metrics({'value': 1.0}); run.finish()\n"
    "sys.exit(0 if run.reachable else 'kept on disk')"
)


def start(root, name):
    return subprocess.Popen([sys.executable, "-c", CODE, name], cwd=root, stderr=subprocess.PIPE, text=True)


def finished(root):
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return sorted(run.info.run_name for run in runs if run.info.status == "FINISHED" and run.data.metrics["value"] == 1)


def test_four_at_once_all_succeed(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    names = [f"run{number}" for number in range(4)]
    processes = [start(tmp_path, name) for name in names]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert finished(tmp_path) == names


def test_a_kill_while_it_is_made_leaves_it_usable(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    killed = 0
    for delay in (0.0, 0.2, 0.5, 1.0):
        process = start(tmp_path, "killed")
        while not (tmp_path / "mlflow.db.partial").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed
    process = start(tmp_path, "after")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "after" in finished(tmp_path)
