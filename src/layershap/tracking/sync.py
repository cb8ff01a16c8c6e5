"""Sending what is kept on disk."""

import os
from collections.abc import Callable

from filelock import FileLock, Timeout

from layershap.tracking import GIVEN_TIMEOUT, store
from layershap.tracking.outage import FAILURES, first_line, refused
from layershap.tracking.run import JOIN, Run
from layershap.tracking.runs import CREATE, JOIN_MODEL, run_of_entry
from layershap.tracking.spool import Spool, spools
from layershap.workspace.errors import BusyError, TrackingError

SYNC_TIMEOUT = 60  # seconds; nobody waits for a training meanwhile


def sync(progress: Callable[[str], None]) -> int:
    """Send what is kept on disk, the oldest first, and return how many calls were made; `progress`: told of each run.

    A run whose calls are refused (it was deleted, say) stays, and the next ones are tried; where the server is out of
    reach, all that is left stays. Either ends in a TrackingError that names what is kept.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = GIVEN_TIMEOUT or str(SYNC_TIMEOUT)
    store.spool_root().parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store.spool_root().with_name("sync.lock"), timeout=0):
            return _send_all(progress)
    except Timeout:
        raise BusyError("another 'layershap sync' is running; wait for it") from None


def _send_all(progress: Callable[[str], None]) -> int:
    sent = 0
    kept = []
    for folder in spools(store.spool_root()):
        spool = Spool(folder)
        calls = 0
        try:
            entries = spool.entries()
            first = next(entries)
            run = Run(spool, run_of_entry(store.connect(), first.name, first.arguments))
            while True:
                for entry in entries:
                    if entry.name not in (CREATE, JOIN, JOIN_MODEL):
                        getattr(Run, entry.name).__wrapped__(run, **entry.arguments)
                        calls += 1
                    # the first stays until all are sent: it names the run
                    entry.remove()
                if spool.close():
                    break
                # a stage appended meanwhile
                entries = spool.entries()
                next(entries)
        except FAILURES as error:
            if refused(error):
                kept.append(
                    f"{first_line(error)}: {folder} is kept; restore the run or experiment in MLflow and run "
                    f"'layershap sync' again, or delete that folder if it is not wanted any more"
                )
                continue
            away = f"{store.address()}: {first_line(error)}; {folder} and later ones are kept, run it again later"
            raise TrackingError("\n".join([*kept, away])) from None
        sent += calls
        progress(f"run {run.run_id}: {calls} calls sent")
    if kept:
        raise TrackingError("\n".join(kept))
    return sent
