"""Stage extract: the frozen layers once per image and view."""

from layershap.data.features import extract_features
from layershap.data.tables import Dataset
from layershap.hardware.prepare import prepare
from layershap.model.classifier import Description, boundary, build_classifier
from layershap.model.networks import image_size
from layershap.workspace import paths
from layershap.workspace.files import replacing
from layershap.workspace.params import load_params


def run() -> None:
    """Write the cache of features at the freeze boundary."""
    params = load_params()
    prepare(params)
    dataset = Dataset.read()
    # the head is not used here; the smallest one will do
    size = image_size(params.model.backbone, params.model.image_size)
    description = Description(params.model.backbone, size, dataset.classes, 1, [], 0.0, params.model.layers)
    model = build_classifier(description, params.model.weights)
    stop = boundary(model, params.model.unfreeze)
    with replacing(paths.FEATURES) as partial:
        extract_features(
            lambda images: model.features(images, stop=stop),
            dataset.paths,
            params.extract.views,
            size,
            params.extract.batch_size,
            partial,
        )
