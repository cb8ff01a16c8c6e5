"""What went wrong with a tracking server: it is away, or it refuses what it was asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import RequestException

from layershap.tracking import store
from layershap.tracking.privacy import hide_secrets
from layershap.workspace.errors import InputError, TrackingError

FAILURES = (MlflowException, RequestException, OSError, TrackingError)
# the server's answer, not a fault of the way to it
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")


def refused(error: Exception) -> bool:
    """Return whether the server answered, and would answer the same again."""
    return isinstance(error, TrackingError) or getattr(error, "error_code", None) in REFUSALS


def first_line(error: Exception) -> str:
    """Return the beginning of an error's message, without secrets."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return hide_secrets(lines[0])[:300]


def tell(error: Exception) -> None:
    """Say that nothing is sent for now, why, and what sends it later."""
    reason = first_line(error)
    if not isinstance(error, TrackingError):
        reason = f"refuses this ({reason})" if refused(error) else f"cannot be reached ({reason})"
    kept = f"what is logged is kept in {store.spool_root()}, 'layershap sync' sends it"
    say(f"MLflow at {store.address()}: {reason}; {kept}")


def say(text: Any) -> None:
    """Print a line for the user beside what the stage prints."""
    print(f"layershap: {hide_secrets(str(text))}", file=sys.stderr)


@contextmanager
def reached() -> Iterator[MlflowClient]:
    """Yield a client; what goes wrong on the way to the server is a TrackingError in one sentence."""
    try:
        yield store.connect()
    except (InputError, TrackingError):
        raise
    except FAILURES as error:
        raise TrackingError(f"MLflow at {store.address()} cannot be reached: {first_line(error)}") from None
