"""What MLflow's UI shows of the experiment: two saved views, kept in its tags as the UI keeps those of a user.

A view holds columns, their order and charts, and has a link. The UI reads these from nowhere else: from no run and no
setting.
"""

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from mlflow.tracking import MlflowClient

from layershap.tracking.model import CHAMPION_TAG, VERDICT_TAG
from layershap.tracking.store import EXPERIMENT_TAGS

VIEW_TAG = "mlflow.sharedViewState."
RUNS, PICTURES = "layershap-runs", "layershap-pictures"
NAMES = {RUNS: "all runs", PICTURES: "contact sheets of two runs"}
PACKED = "deflate;"
LONGEST = 5000  # characters of a tag, of the oldest servers
COLUMNS = [
    *(f"metrics.`{name}`" for name in ("accuracy", "accuracy_low", "accuracy_high")),
    f"tags.`{VERDICT_TAG}`",
    f"tags.`{CHAMPION_TAG}`",
]
# px; of all columns in order, or the UI takes no widths at all; the first two and the last are always there
WIDTHS = dict(
    zip(
        ["attributes.`Run Name`", "runDateAndNestInfo", *COLUMNS, "duration"],
        (240, 145, 90, 120, 125, 135, 165, 80),
        strict=True,
    )
)
CARD_HEIGHT = 500  # px: a small sheet, the run's name above it and the slider of steps below
# the UI's own groups, which it names itself; it adds the others, by what stands before the / of metrics
HEADLINE, SYSTEM = "Model metrics", "System metrics"


def link(address: str, experiment: str, view: str) -> str:
    """Return where a view stands in the UI at `address`."""
    charts = "&compareRunsMode=CHART" if view == PICTURES else ""
    asked = f"workflowType=machine_learning&viewStateShareKey={view}{charts}"
    return f"{address.rstrip('/')}/#/experiments/{experiment}/runs?{asked}"


def arrange(client: MlflowClient, experiment: str, pictures: Iterable[str] = ()) -> None:
    """Bring the views of an experiment to this version, with these keys of pictures beside those that they show.

    Doing it twice changes nothing.
    """
    tags = client.get_experiment(experiment).tags
    keys = list(dict.fromkeys([*pictures, *_pictures(tags.get(VIEW_TAG + RUNS, ""))]))
    wanted = {tag: tags.get(tag, value) for tag, value in EXPERIMENT_TAGS.items()}
    wanted |= {VIEW_TAG + view: packed(view, keys) for view in NAMES}
    for tag, value in wanted.items():
        if tags.get(tag) != value:
            client.set_experiment_tag(experiment, tag, value)


def packed(view: str, keys: list[str]) -> str:
    """Return a view as the UI keeps it, with the first of `keys` for which a tag has room, in the alphabet's order."""
    for count in range(len(keys), -1, -1):
        text = json.dumps(content(view, sorted(keys[:count])), separators=(",", ":"))
        state = PACKED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        found = json.dumps({"name": NAMES[view], "createdAt": 0, "state": state})
        if len(found) <= LONGEST:
            break
    return found


def content(view: str, keys: list[str]) -> dict[str, Any]:
    """Return what a view shows, by the UI's names.

    A card of pictures has one key: with several the UI draws a table, which gives a third of the width to their names.
    """
    groups = {"pictures": "contact sheets", "headline": HEADLINE, "system": SYSTEM}
    sizes = {"pictures": {"columns": 1, "cardHeight": CARD_HEIGHT}}
    cards = [
        {
            "uuid": f"picture {key}",
            "type": "IMAGE",
            "metricSectionId": "pictures",
            "imageKeys": [key],
            "step": 0,
            "showRunParams": False,  # all settings of each run above its picture
            "isGenerated": True,
            "deleted": False,
        }
        for key in keys
    ]
    return {
        "selectedColumns": COLUMNS,
        "columnOrder": list(WIDTHS),
        "columnWidths": WIDTHS,
        "runsHiddenMode": "HIDE_ALL" if view == PICTURES else "FIRST_10_RUNS",
        "compareRunCharts": cards,
        "compareRunSections": [
            {
                "uuid": group,
                "name": name,
                "display": True,
                "isReordered": False,
                "isGenerated": True,
                **sizes.get(group, {}),
            }
            for group, name in groups.items()
        ],
        "isAccordionReordered": True,  # this order, not the alphabet's
    }


def _pictures(value: str) -> list[str]:
    """Return the keys of pictures that a view shows; none where it is none of ours."""
    try:
        state = zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix(PACKED)))
        return [key for card in json.loads(state)["compareRunCharts"] for key in card["imageKeys"]]
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return []
