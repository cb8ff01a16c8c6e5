"""Servers for the tests, on the loopback."""

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager


def free_port() -> int:
    """Return a port of the loopback on which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(project, *command, path="/health", seconds=240, port=None, host=("--host", "127.0.0.1"), **environment):
    """Run a server of the project's environment on `port`, or a free one, of the loopback; yield its address.

    What it prints is in server.log of the project. `host`: the option that it takes for the host.
    """
    port = port or free_port()
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *host, "--port", str(port)],
            cwd=project.root,
            # MLflow's own jobs are ten more processes
            env={**project.environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(seconds * 2):
            try:
                urllib.request.urlopen(address + path, timeout=2).read()
                break
            except OSError:
                time.sleep(0.5)
                assert process.poll() is None, (project.root / "server.log").read_text()
        else:
            raise AssertionError((project.root / "server.log").read_text())
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(30)


def tracking_server(project, name="server"):
    """Return the command of a real MLflow server with a store and artifacts of its own in the project."""
    store, artifacts = project.root / f"{name}.db", project.root / f"{name}_artifacts"
    return "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(artifacts)
