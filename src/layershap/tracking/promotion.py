"""Making a registered model the champion, on someone's word."""

from layershap.tracking import lineage, store
from layershap.tracking.model import CHAMPION, VERDICT_TAG, newest_version, say_champion
from layershap.tracking.outage import reached
from layershap.tracking.runs import id_with_model, is_waiting
from layershap.workspace.errors import InputError

PROMOTED_TAG = "layershap.promoted_by"


def promote(model: str) -> str:
    """Make the newest registered version of the model with this digest the champion; return what was done.

    Nothing is kept for later where the server is away: what passes today may be outdone when it is back. Raises
    InputError where the model is not registered or its recorded verdict is no PASS, TrackingError where the server is
    out of reach.
    """
    if is_waiting(model):
        raise InputError("what was recorded of the model here is not sent yet: run 'layershap sync' first")
    with reached() as client:
        run_id = id_with_model(client, model)
        version = newest_version(client, run_id) if run_id else None
        if version is None:
            raise InputError(
                f"the model here is not registered at {store.address()}: run 'dvc repro', or 'layershap record'"
            )
        verdict = version.tags.get(VERDICT_TAG, "none")
        if verdict != "PASS":
            raise InputError(
                f"the verdict on {version.name} version {version.version} is {verdict} at {store.address()}, "
                f"and PASS here: run 'layershap record', which sends it"
            )
        before = client.get_registered_model(version.name).aliases.get(CHAMPION)
        if str(before) == str(version.version):  # a number from SQLite, text from a server
            return f"{version.name} version {version.version} is champion already"
        client.set_registered_model_alias(version.name, CHAMPION, version.version)
        client.set_model_version_tag(version.name, version.version, PROMOTED_TAG, lineage.user())
        say_champion(client, version.name, client.get_run(run_id).info.experiment_id)
    was = f"it was version {before}" if before else "there was none"
    return f"{version.name} version {version.version} is champion now ({was})"
