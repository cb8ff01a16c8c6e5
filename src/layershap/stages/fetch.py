"""Stage fetch: the source's images to data/raw/<class>/, every one checked, and the masks that some have."""

from pathlib import Path

from layershap.data.bring_masks import bring_masks, find_masks, said
from layershap.data.fetch import TooManyRefusedError, fetch
from layershap.data.sources import list_images
from layershap.data.tables import write_table
from layershap.workspace import paths
from layershap.workspace.errors import InputError
from layershap.workspace.experiment import bring_own_files
from layershap.workspace.files import remove, replacing, write_json
from layershap.workspace.params import load_params


def run() -> None:
    """Write the images, their table, the table of refused ones, the counts, and the masks with theirs."""
    params = load_params()
    for place in (params.data.path, params.data.masks):
        bring_own_files(Path(place))
    images = list_images(params.data, paths.DOWNLOADS)
    masks = find_masks(params.data, images, paths.DOWNLOADS)
    try:
        with replacing(paths.RAW) as partial:
            partial.mkdir()
            fetched = fetch(images, partial, params.data.max_refused, params.loader.workers)
    except BaseException as error:
        remove(partial)
        if isinstance(error, TooManyRefusedError):
            write_table(paths.REFUSED_TABLE, error.refused)
            raise InputError(f"{error} (all of them: {paths.REFUSED_TABLE})") from None
        raise
    try:
        with replacing(paths.MASKS) as partial:
            partial.mkdir()
            table = bring_masks(masks, fetched.images, partial)
            write_table(partial / paths.MASKS_TABLE.name, table)
    except BaseException:
        remove(partial)
        raise
    write_table(paths.IMAGES_TABLE, fetched.images)
    write_table(paths.REFUSED_TABLE, fetched.refused)
    counts = {"masks": len(table)} if len(table) else {}
    write_json(paths.DATA_METRICS, {**fetched.metrics(), **counts})
    for row in fetched.refused.itertuples():
        print(f"refused {row.path}: {row.reason}")
    print(f"{len(fetched.images)} images, {len(fetched.refused)} refused")
    for line in said(masks, table, len(fetched.images)):
        print(line)
