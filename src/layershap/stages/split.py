"""Stage split: train, val and test."""

from pathlib import Path

from layershap.data.groups import group_names
from layershap.data.split import split_images, split_metrics
from layershap.data.tables import read_table, write_table
from layershap.workspace import paths
from layershap.workspace.files import write_json
from layershap.workspace.params import load_params


def run() -> None:
    """Write the split of every image and its counts."""
    params = load_params()
    images = read_table(paths.IMAGES_TABLE)
    folder = Path(params.data.path)
    result = split_images(images, params.split, folder)
    if params.split.group:
        names = group_names(images["path"], params.split.group, folder)
        print(f"{names.nunique()} groups of {len(images)} images by split.group, each in one split")
    write_table(paths.SPLIT_TABLE, result)
    write_json(paths.SPLIT_METRICS, split_metrics(images, result))
