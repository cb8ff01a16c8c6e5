"""explanations/images.csv: a row for each explained image, in the order of the arrays."""

from itertools import zip_longest

import pandas as pd

from layershap.workspace import paths

IMAGE, MISTAKE = "image", "mistake"  # what an explained image was chosen as
COLUMNS = ["name", "path", "label", "predicted", "correct", "probability", "chosen", "picture"]


def images_table(chosen: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the table of the images that `choose_images` chose from all predictions.

    name: of the image's pictures. probability: of the predicted class. chosen: image or mistake. picture: 1 or 0.
    """
    names = paths.picture_names(predictions["path"])
    table = chosen.copy()
    table["name"] = [names[path] for path in chosen["path"]]
    table["probability"] = [row[f"p_{row['predicted']}"] for row in chosen.to_dict("records")]
    return table[COLUMNS]


def read_images() -> pd.DataFrame:
    """Return the table as stage explain wrote it; a name such as 1e-5 stays a name."""
    text = dict.fromkeys(("name", "path", "label", "predicted", "chosen"), str)
    return pd.read_csv(paths.EXPLAINED_IMAGES, keep_default_na=False, dtype=text)


def picture_order(images: pd.DataFrame) -> list[int]:
    """Return the positions of the rows in the order in which they get pictures: a mistake and another in turn.

    So a few pictures show both kinds; where one kind runs out, the other fills in. `images` needs the column chosen.
    """
    kinds = [[place for place, kind in enumerate(images["chosen"]) if kind == wanted] for wanted in (MISTAKE, IMAGE)]
    return [place for pair in zip_longest(*kinds) for place in pair if place is not None]
