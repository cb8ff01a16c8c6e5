"""Which test images are explained, and which of these get pictures."""

import numpy as np
import pandas as pd

from layershap.data.tables import natural
from layershap.reporting.explained.images import IMAGE, MISTAKE, picture_order


def choose_images(predictions: pd.DataFrame, images: int | None, mistakes: int, pictures: int | None) -> pd.DataFrame:
    """Return the rows of the predictions to explain, in order, with the columns chosen and picture.

    First `images` test images (None: all), the classes in turn, each class by the digest of its images' pixels: the
    same for every model that was trained on this split. Then `mistakes` further ones that this model decided wrongly,
    in the same order. chosen: IMAGE or MISTAKE; where there are fewer further mistakes, those among the images are
    called so in their place. picture: 1 for those that get pictures, the first `pictures` (None: all) of
    `picture_order`. Where there are fewer images than asked for, it is all there are.
    """
    ordered = in_turn(predictions)
    chosen = ordered.index[:images]
    others = ordered.drop(chosen)
    further = in_turn(others[others["correct"] == 0]).index[:mistakes]
    within = [label for label in chosen if not ordered.loc[label, "correct"]][: mistakes - len(further)]
    table = predictions.loc[[*chosen, *further]]
    table["chosen"] = np.where(table.index.isin([*within, *further]), MISTAKE, IMAGE)
    table = table.reset_index(drop=True)
    table["picture"] = table.index.isin(picture_order(table)[:pictures]).astype(int)
    return table


def in_turn(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows one of each class after the other, each class by its images' digests; index labels stay."""
    ordered = table.sort_values(["pixels", "path"])
    places = {label: place for place, label in enumerate(sorted(set(table["label"]), key=natural))}
    keys = pd.DataFrame({"turn": ordered.groupby("label").cumcount(), "class": ordered["label"].map(places)})
    return ordered.loc[keys.sort_values(["turn", "class"]).index]
