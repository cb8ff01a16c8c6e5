"""How much faster the frozen layers are in bfloat16 (trainer.precision: bf16-mixed) than in float32, in turn.

    python benchmarks/precision.py
    python benchmarks/precision.py --backbone resnet50 --size 224 --batch 16

The forward pass of stage extract alone, on random pictures; best of `--repeats` in each precision, one after the other.
"""

import time

import click
import torch

from layershap.hardware.prepare import join
from layershap.model.classifier import Description, build_classifier
from layershap.workspace.params import Trainer

BACKBONES = ("efficientnet_lite0", "resnet18", "resnet50", "vgg19", "timm/convnext_atto", "timm/vit_tiny_patch16_224")
PRECISIONS = ("32-true", "bf16-mixed")


@click.command()
@click.option("--backbone", "backbones", multiple=True, help="Name of a network; several times for several.")
@click.option("--size", default=224, show_default=True, help="Height and width in pixels.")
@click.option("--batch", default=8, show_default=True, help="Images at once.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@torch.inference_mode()
def main(backbones: tuple[str, ...], size: int, batch: int, repeats: int, threads: int) -> None:
    """Print milliseconds an image in both precisions and their ratio."""
    torch.set_num_threads(threads)
    options = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}
    joined = {name: join(Trainer(precision=name, **options)) for name in PRECISIONS}
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    print(f"{'network':28} {'float32 ms':>10} {'bfloat16 ms':>11} {'ratio':>6}  largest difference of the features")
    for name in backbones or BACKBONES:
        model = build_classifier(Description(name, size, ["a", "b"], 1, [], 0.0), "random")
        best = dict.fromkeys(PRECISIONS, float("inf"))
        features = {}
        for _ in range(repeats + 1):  # the first one is to warm up
            for precision in PRECISIONS:
                with joined[precision].autocast():
                    started = time.perf_counter()
                    features[precision] = model.features(images)
                    best[precision] = min(best[precision], time.perf_counter() - started)
        each = [1000 * best[precision] / batch for precision in PRECISIONS]
        first, second = (features[precision].float() for precision in PRECISIONS)
        change = float((second - first).abs().max() / first.abs().max())
        print(
            f"{name:28} {each[0]:10.1f} {each[1]:11.1f} {each[0] / each[1]:6.2f}  {change:.4f} of the largest feature"
        )


if __name__ == "__main__":
    main()
