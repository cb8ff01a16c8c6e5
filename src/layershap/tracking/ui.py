"""MLflow's UI over the project's store, and the links to what it should show."""

import os
import subprocess
import sys

from layershap.tracking import store
from layershap.tracking.outage import reached
from layershap.tracking.views import NAMES, arrange, link


def serve_ui(port: int) -> None:
    """Run the MLflow UI on 127.0.0.1 over the project's store, until interrupted; of a server, say where its own UI is.

    Raises TrackingError where the server is out of reach (its address is said before that) or the experiment was
    deleted.
    """
    uri = store.tracking_uri()
    served = uri.startswith(("http:", "https:"))
    address = store.address() if served else f"http://127.0.0.1:{port}"
    if served:
        print(f"MLFLOW_TRACKING_URI names a server, which has its own UI: {address}", flush=True)
    with reached() as client:
        experiment = store.experiment_id(client)
        arrange(client, experiment)
    if not served:
        print(f"MLflow UI: {address}  (Ctrl-C ends it)")
    for view, name in NAMES.items():
        print(f"{name}: {link(address, experiment, view)}")
    if served:
        return
    # by the environment: a command line is seen by others; MLflow's jobs judge language models and take ten processes
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**quiet, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    arguments = ["--host", "127.0.0.1", "--port", str(port)]
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "mlflow", "ui", *arguments], check=False, env=environment)
