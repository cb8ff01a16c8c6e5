"""The command promote: the model that is here becomes the registered champion, if the gate passes it."""

from layershap.stages.gate import verdict_here
from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest
from layershap.workspace.quiet import quiet_libraries


def run() -> None:
    """Judge again, as `layershap gate --check` does, and promote on a PASS; raises InputError otherwise."""
    verdict = verdict_here()
    if verdict.verdict != "PASS":
        raise InputError(f"the gate says {verdict.verdict}: {'; '.join(verdict.reasons)}")
    quiet_libraries()
    from layershap.tracking.promotion import promote

    print(promote(file_digest(paths.MODEL_WEIGHTS)))
