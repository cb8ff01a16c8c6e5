"""MLflow: the run of a model, the store, what could not be sent. The only room that imports mlflow.

One beside it does: serving/served_model.py, which MLflow itself loads.
"""

import os

GIVEN_TIMEOUT = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")  # the user's own
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# a server that hangs costs twice this, once
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
