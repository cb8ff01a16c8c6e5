"""The champion's heatmaps beside those that are here: asked for by `layershap gate` where gate.min_agreement is set.

Not part of stage gate, which knows nothing of MLflow and judges without it.
"""

import tempfile
from pathlib import Path

from layershap.judging.agreement import Agreement
from layershap.reporting.comparison.explained import compared_maps, layer_table
from layershap.reporting.comparison.facts import predictions
from layershap.stages.compare import champion, resolve
from layershap.workspace.compared.here import WORKSPACE
from layershap.workspace.errors import InputError, TrackingError
from layershap.workspace.quiet import quiet_libraries


def with_champion() -> Agreement:
    """Return how alike the heatmaps here and the champion's are on the images that both explained.

    Why it is not known is said in it, never raised: no champion, no maps, a server out of reach.
    """
    quiet_libraries()
    asked = champion()
    with tempfile.TemporaryDirectory() as name:
        try:
            first = resolve(asked, Path(name) / "A")
        except TrackingError as error:
            return Agreement(champion=asked, reason=f"{error}; 'dvc repro -s -f gate' asks again")
        except InputError as error:
            return Agreement(champion=asked, reason=str(error), none=True)
        try:
            second = resolve(WORKSPACE, Path(name) / "B")
            found = compared_maps(first, second, predictions(first), predictions(second))
        except InputError as error:
            return Agreement(champion=asked, reason=str(error))
        said = first.facts.get("registered", asked)
        if found is None:
            why = "; ".join([*first.lacking, *second.lacking]) or "no test image is explained in both"
            return Agreement(champion=said, reason=why)
        rows = layer_table(found.layers)
        return Agreement.model_validate({"champion": said, "images": len(found.images), "layers": rows})
