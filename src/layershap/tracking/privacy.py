"""Secrets are shown and kept nowhere: passwords in addresses, and those that MLflow reads from the environment."""

import os
import re
from urllib.parse import unquote

HIDDEN = "***"
VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
IN_ADDRESS = re.compile(r"(?<=://)[^/\s]*@(?=[^/\s@]*)")


def hide_secrets(text: str) -> str:
    """Return `text` without user and password of addresses, and without the values of VARIABLES."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    known = [os.environ.get(name, "") for name in VARIABLES]
    # also where an error takes the address apart, or writes it in another way
    if found := IN_ADDRESS.search(address):
        word = found[0].rstrip("@").partition(":")[2]
        known += [word, unquote(word)]
    text = IN_ADDRESS.sub(f"{HIDDEN}@", text)
    for secret in known:
        if len(secret) > 2:
            text = text.replace(secret, HIDDEN)
    return text
