"""Worst relative gap of any layer's sum at 224 x 224, on networks as torchvision defines them and on the own backbones.

python benchmarks/explain_gaps.py         # some minutes; prints the table of docs/benchmarks.md
"""

import sys
from pathlib import Path

import click
import torch

from layershap.explain import Chain, explain_layers


def worst(model: Chain, dtype: torch.dtype, path: str, segments: int, layers: list[str]) -> float:
    """Return the largest |gap| / |total| over `layers`, for one random image and two references."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 224, 224, generator=generator).to(dtype)
    options = {"path": path, "segments": segments, "layers": layers}
    found = explain_layers(model.to(dtype), images[:1], images[1:], **options)  # type: ignore[arg-type]
    return max(float((layer.gap / layer.total).abs()) for layer in found.values())


@click.command()
def main() -> None:
    """Print a row for each network."""
    root = Path(__file__).parents[1]
    sys.path[:0] = [str(root / "benchmarks"), str(root / "tests" / "explain")]
    from test_networks import WIDTHS, cut

    from explain_speed import build

    print("| network | layers | float32, image | float32, layer | float64, image | float64, layer |")
    print("|---|--:|--:|--:|--:|--:|")
    networks = {f"{name} (torchvision)": lambda name=name: cut(name) for name in WIDTHS}
    networks["efficientnet_lite0"] = lambda: build("efficientnet_lite0", 224)
    for name, make in networks.items():
        model = make()
        # the deep ones of path layer on six layers: they share the modules above
        few = list(model.names[:: max(1, len(model.names) // 6)])
        found = []
        for dtype in (torch.float32, torch.float64):
            found += [worst(model, dtype, "image", 2, list(model.names)), worst(model, dtype, "layer", 2, few)]
        print(f"| {name} | {len(model.names)} | {' | '.join(f'{value:.1e}' for value in found)} |", flush=True)


if __name__ == "__main__":
    main()
