"""Draw the pictures of docs/paper.md that show images, from the data set that may be shown: run `make repro` first.

python docs/paper_pictures.py     # a minute: an example of the study of other faces, a plate, VGG19 with random weights
"""

import shutil

import torch
from paper import PICTURES

from layershap.data.features import load_batch
from layershap.data.tables import Dataset
from layershap.explain import choose_references, explain_layers
from layershap.explain.explanations import panels
from layershap.hardware.prepare import prepare
from layershap.model.classifier import Description, build_classifier, load_classifier, numbered
from layershap.plots import canvas, sheets
from layershap.reporting import figures
from layershap.study.other_faces import Materials, example
from layershap.study.other_faces_figures import save_example
from layershap.workspace import paths
from layershap.workspace.params import load_params


def main() -> None:
    """Write example.png, plate.png and vgg19_random.png."""
    params = load_params()
    if params.data.source != "elpv":
        raise SystemExit("data.source is not elpv: its pictures may not be shown here")
    prepare(params)
    dataset = Dataset.read()
    PICTURES.mkdir(parents=True, exist_ok=True)
    plate, *_ = sorted(paths.PLATES.glob("*.png"))
    shutil.copy(plate, PICTURES / "plate.png")
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    torch.manual_seed(0)
    train = dataset.rows("train")
    rows = train[choose_references(dataset.targets[train].tolist(), 32, 0)]
    references = load_batch([dataset.paths[row] for row in rows], description.image_size)
    classes = dataset.targets[rows]
    test = dataset.rows("test")
    shown = test[dataset.targets[test] == 1][0]
    image = load_batch([dataset.paths[shown]], description.image_size)
    materials = Materials(
        model,
        build_classifier(description, "random"),
        references,
        classes,
        references,
        classes,
        references.mean(0, keepdim=True),
        params.explain.segments,
        params.explain.output,
    )
    layers = {name: number for number, name in numbered(dict.fromkeys(model.names))}
    save_example(PICTURES, example(image, 1, materials), layers)

    vgg19 = build_classifier(Description("vgg19", 224, dataset.classes, 0, [64], 0.5), "random")
    found = numbered(explain_layers(vgg19, image, references[:10], path="image"))
    sheet = sheets.plate(
        figures.picture(image[0]),
        panels(found.values(), [f"{number} {name}" for number, name in found]),
        "VGG19 with RANDOM weights: shape alone",
        figures.unit("margin", dataset.classes),
    )
    canvas.save(sheet, PICTURES / "vgg19_random.png")


if __name__ == "__main__":
    main()
