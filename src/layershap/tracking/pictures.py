"""The pictures of a run in the UI's image grid: as many files as pictures, whatever is sent again."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient
from PIL import Image

from layershap.tracking.names import picture_key
from layershap.tracking.views import arrange

EXPLANATIONS_TAG = "layershap.explanations"
FOLDER = "images"
SMALL = 360  # pixels: two fit beside each other and the UI's list of runs on a screen of 1400


def show(client: MlflowClient, run_id: str, images: Mapping[str, Path], digest: str, small: Mapping[str, Path]) -> None:
    """Show `images` by title under stable keys; `small`: what the grid shows of some, where it would shrink the others.

    The pictures of before are overwritten, for the grid opens at the first state of a run that has several. The same
    again (`digest`) sends nothing.
    """
    run = client.get_run(run_id)
    keys = {picture_key(title): title for title in images}
    if run.data.tags.get(EXPLANATIONS_TAG) != digest:
        # MLflow names the files at random: those that came through before a kill are used again
        there = _files(client, run_id)
        for key, title in keys.items():
            if key not in there:
                with Image.open(images[title]) as picture:
                    client.log_image(run_id, picture.convert("RGB"), key=key)
        there = _files(client, run_id)
        with tempfile.TemporaryDirectory() as folder:
            for key, title in keys.items():
                for name in there[key]:
                    _write(Path(folder) / name, images[title], small.get(title, images[title]))
            client.log_artifacts(run_id, folder, FOLDER)
        client.set_tag(run_id, EXPLANATIONS_TAG, digest)
    arrange(client, run.info.experiment_id, keys)


def _write(file: Path, whole: Path, small: Path) -> None:
    """Write one of MLflow's two files of a picture: the whole as PNG, or as WebP what a card shows, at most SMALL."""
    card = file.suffix == ".webp"
    with Image.open(small if card else whole) as opened:
        picture = opened.convert("RGB")
    if card:
        picture.thumbnail((SMALL, SMALL))
    picture.save(file, lossless=True)


def _files(client: MlflowClient, run_id: str) -> dict[str, list[str]]:
    """Return the names of the grid's files by key; none of a key whose small file, which comes last, is not there."""
    files: dict[str, list[str]] = {}
    for item in client.list_artifacts(run_id, FOLDER):
        name = Path(item.path).name
        files.setdefault(name.partition("+step+")[0], []).append(name)
    return {key: names for key, names in files.items() if any(name.endswith(".webp") for name in names)}
