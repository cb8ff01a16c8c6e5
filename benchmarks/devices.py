"""Seconds of explaining one image on the processor and on the GPU, side by side, and whether both say the same.

    python benchmarks/devices.py                              # on a machine with a GPU
    python benchmarks/devices.py --network resnet18 --size 96

All layers of networks with random weights, 10 references, two segments, the best of --times after a first run.
`gap`: the largest |sum - (f(x) - mean f)| of any layer on the GPU, relative to that. `apart`: the largest distance of a
heatmap on the GPU to the processor's, relative to the map's largest value. `memory`: peak of the GPU's, in MiB.
"""

import time
from collections.abc import Callable
from typing import Literal

import click
import torch
from rich.console import Console
from rich.table import Table

from layershap.explain import Chain, LayerExplanation, explain_layers
from layershap.torchvision_guard import torchvision

import timm  # isort: skip

Path = Literal["layer", "image"]
PATHS: tuple[Path, ...] = ("layer", "image")

NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "efficientnet_lite0": lambda: timm.create_model("tf_efficientnet_lite0", num_classes=2),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=2),
    "vgg19": lambda: torchvision.models.vgg19(num_classes=2),
    "convnext_tiny": lambda: torchvision.models.convnext_tiny(num_classes=2),
    "vit_small": lambda: timm.create_model("vit_small_patch16_224", num_classes=2),
}
REFERENCES = 10


def measured(
    chain: Chain, images: torch.Tensor, references: torch.Tensor, path: Path, times: int
) -> tuple[float, dict[str, LayerExplanation]]:
    """Return the seconds of the best of some runs after a first one, and what was found."""
    found, best = explain_layers(chain, images, references, path=path, segments=2), float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        explain_layers(chain, images, references, path=path, segments=2)
        if images.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return best, found


def row(name: str, size: int, path: Path, times: int) -> tuple[str, ...]:
    """Return a line of the table."""
    torch.manual_seed(0)
    chain = Chain.of(NETWORKS[name]().eval(), torch.zeros(1, 3, size, size))
    images, references = torch.randn(1, 3, size, size), torch.randn(REFERENCES, 3, size, size)
    here, wanted = measured(chain, images, references, path, times)
    torch.cuda.reset_peak_memory_stats()
    there, found = measured(chain.cuda(), images.cuda(), references.cuda(), path, times)
    largest = [float(wanted[layer].heatmap.abs().max()) for layer in wanted]
    apart = max(
        float((found[layer].heatmap.cpu() - wanted[layer].heatmap).abs().max()) / scale
        for layer, scale in zip(wanted, largest, strict=True)
        if scale > 0
    )
    gap = max(float((layer.gap / (layer.total - layer.gap)).abs().max()) for layer in found.values())
    memory = torch.cuda.max_memory_allocated() / 2**20
    numbers = (f"{here:.2f}", f"{there:.3f}", f"{here / there:.1f}", f"{gap:.1e}", f"{apart:.1e}", f"{memory:.0f}")
    return (name, path, *numbers)


@click.command()
@click.option("--network", "networks", multiple=True, type=click.Choice(list(NETWORKS)), help="Default: all.")
@click.option("--size", default=224, show_default=True, help="Pixels, height and width.")
@click.option("--threads", default=torch.get_num_threads(), show_default=True, help="Of the processor.")
@click.option("--times", default=3, show_default=True, help="Runs, of which the fastest counts.")
def main(networks: tuple[str, ...], size: int, threads: int, times: int) -> None:
    """Explain on both."""
    if not torch.cuda.is_available():
        raise click.ClickException("this machine has no GPU that torch can use; there is nothing to compare")
    torch.set_num_threads(threads)
    title = f"{torch.cuda.get_device_name()}, torch {torch.__version__}; processor: {threads} threads; {size} px"
    table = Table("network", "path", "processor, s", "GPU, s", "times", "gap", "apart", "memory, MiB", title=title)
    console = Console(width=120)
    for name in networks or NETWORKS:
        for path in PATHS:
            table.add_row(*row(name, size, path, times))
    console.print(table)


if __name__ == "__main__":
    main()
