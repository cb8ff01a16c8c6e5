"""Stage extract: the frozen layers once per image and view."""

import sys

import torch
from torch import Tensor

from layershap.data.features import extract_features, names_of_views, write_live
from layershap.data.tables import Dataset
from layershap.hardware.prepare import prepare
from layershap.hardware.processes import Processes
from layershap.model.classifier import Description, boundary, build_classifier
from layershap.model.networks import image_size
from layershap.workspace import paths
from layershap.workspace.files import remove
from layershap.workspace.params import load_params


def run() -> None:
    """Write the cache of features at the freeze boundary, or that there is none."""
    params = load_params()
    processes = prepare(params)
    if params.model.unfreeze == "all":
        with processes.replacing(paths.FEATURES) as partial:
            if processes.first:
                write_live(partial)
                print("extract is skipped: model.unfreeze is all, and train reads the images themselves")
        return
    warn_of_slow_bfloat16(params.trainer.precision, processes)
    dataset = Dataset.read()
    # the head is not used here; the smallest one will do
    size = image_size(params.model.backbone, params.model.image_size)
    description = Description(params.model.backbone, size, dataset.classes, 1, [], 0.0, params.model.layers)
    model = build_classifier(description, params.model.weights).to(processes.device)
    stop = boundary(model, params.model.unfreeze)

    def frozen(images: Tensor) -> Tensor:
        return model.features(images, stop=stop)

    with processes.replacing(paths.FEATURES) as partial:
        try:
            extract_features(
                frozen,
                dataset.paths,
                names_of_views(params.augment.policy, params.extract.views),
                size,
                params.extract.batch_size,
                partial,
                processes,
                params.loader.workers,
                params.extract.seed,
                params.augment.vertical,
            )
        except BaseException:
            if processes.count == 1:  # the others may still be writing
                remove(partial)  # it may be large, and nobody asks for it again
            raise


def warn_of_slow_bfloat16(precision: str, processes: Processes) -> None:
    """Say that a processor without instructions for bfloat16 will take longer with it, not shorter."""
    if precision != "bf16-mixed" or processes.device.type != "cpu" or not processes.first:
        return
    known = torch.cpu.get_capabilities()
    if not (known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16")):
        print(
            "warning: trainer.precision: this processor has no instructions for bfloat16 (avx512_bf16, amx_bf16): "
            "bf16-mixed is slower here than 32-true",
            file=sys.stderr,
        )
