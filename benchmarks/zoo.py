"""Is every layer's sum exact on the networks that people train? torchvision's classifiers and one of each timm family.

    python benchmarks/zoo.py --write docs/zoo.md           # about half an hour on two cores
    python benchmarks/zoo.py --write docs/zoo.md --again   # those that were not exact, into the same page
    python benchmarks/zoo.py --only swin                   # those with this in their name
    python benchmarks/zoo.py --list                        # their names

A family is a module of timm; its network is the one with the fewest parameters (those that timm made for its own tests
left out). Networks of more than 65 million parameters or 320 pixels are left out. Weights are random; batch norm takes
its statistics from a batch, and parameters that start as one number (0, 1, or a scale of 1e-6) get random ones, so
that signals keep their size and every part matters. Each runs in a process of its own with one thread: cut by
`Chain.of` as it comes, one image, two references, path image, two segments, all layers, float32. `gap`: the largest
|sum - (f(x) - E f)| of a layer, relative to E |f(x) - f(x'_j)| + (|f(x)| + E |f(x'_j)|) / 10. Above 1e-3 the network is
tried again in float64, where 1e-8 is asked. Seconds are the processor's.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from layershap.explain import Chain, InexactSumError, explain_layers
from layershap.torchvision_guard import torchvision

MOST_PARAMETERS = 65e6
MOST_PIXELS = 320
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}


@dataclass
class Row:
    """A line of the table. `reason`: why a network is not exact, or empty."""

    network: str
    millions: float
    pixels: int
    layers: int = 0
    gap: float = float("nan")
    precision: str = "float32"
    cutting: float = float("nan")
    explaining: float = float("nan")
    reason: str = ""


def build(name: str) -> nn.Module:
    """Return `torchvision/NAME` or `timm/NAME` with random weights."""
    package, name = name.split("/")
    torch.manual_seed(0)
    if package == "timm":
        import timm

        network: nn.Module = timm.create_model(name)
        return network
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **options)


def pixels(network: nn.Module) -> int:
    """Return the side of the images that the network's configuration names, or 224."""
    configuration: Any = getattr(network, "default_cfg", None) or {}
    return int(configuration.get("input_size", (3, 224, 224))[-1])


def names() -> Iterator[str]:
    """Yield torchvision's classifiers, then the smallest network of each timm family."""
    import timm

    def size(name: str) -> float:
        found = parameters(name)
        return found if found <= MOST_PARAMETERS else float("inf")

    for name in torchvision.models.list_models(torchvision.models):
        if size(f"torchvision/{name}") < float("inf"):
            yield f"torchvision/{name}"
    for module in timm.list_modules():
        sizes = {name: size(f"timm/{name}") for name in timm.list_models(module=module) if not name.startswith("test_")}
        if sizes and min(sizes.values()) < float("inf"):
            yield f"timm/{min(sizes, key=lambda name: sizes[name])}"


def parameters(name: str) -> float:
    """Return how many parameters a network has; infinity for images larger than MOST_PIXELS."""
    try:
        with torch.device("meta"):
            network = build(name)
    except (NotImplementedError, RuntimeError):  # some read numbers as they are made
        network = build(name)
    if pixels(network) > MOST_PIXELS:
        return float("inf")
    return float(sum(parameter.numel() for parameter in network.parameters()))


@torch.no_grad()
def liven(network: nn.Module, side: int) -> None:
    """Give constant parameters random values, and batch norm the statistics of a batch."""
    for name, parameter in network.named_parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            if name.endswith("bias") or parameter.dim() > 1:
                parameter.normal_(0, 0.05)
            else:
                parameter.uniform_(0.2, 1)
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        network(pictures(4, side))
    network.eval()


def pictures(count: int, side: int) -> Tensor:
    """Return smooth random pictures [count, 3, side, side] of mean 0."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(count, 3, 9, 9, generator=generator)
    fine = torch.randn(count, 3, side, side, generator=generator)
    return nn.functional.interpolate(coarse, (side, side), mode="bicubic") + 0.2 * fine


def measure(name: str) -> Row:
    """Cut and explain one network."""
    network = build(name).eval()
    side = pixels(network)
    row = Row(name, sum(parameter.numel() for parameter in network.parameters()) / 1e6, side)
    try:
        liven(network, side)
        start = time.process_time()
        chain = Chain.of(network)
        row.cutting, row.layers = time.process_time() - start, len(chain.names)
        for precision in TOLERANCE:
            row.precision = precision
            dtype = getattr(torch, precision)
            start = time.process_time()
            try:
                row.gap, row.reason = gap(chain.to(dtype), pictures(3, side).to(dtype)), ""
            except InexactSumError as error:
                row.reason = f"{precision}: {error}"
            row.explaining = time.process_time() - start
            if row.gap <= TOLERANCE[precision]:
                break
            row.reason = row.reason or f"{precision}: a gap of {row.gap:.1e}"
    except (ValueError, NotImplementedError, RuntimeError) as error:
        row.reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return row


def gap(chain: Chain, images: Tensor) -> float:
    """Return the largest relative gap of any layer."""
    chain.requires_grad_(False)
    found = explain_layers(chain, images[:1], images[1:], target=0, output="logit", path="image", segments=2)
    logits = chain(images).double()[:, 0]
    scale = (logits[0] - logits[1:]).abs().mean() + (logits[0].abs() + logits[1:].abs().mean()) * 0.1
    return max(float(layer.gap.abs().max() / scale) for layer in found.values())


def table(rows: list[Row]) -> str:
    """Return the page: figures first, then a row for each network, then those that are not exact."""
    parts = ["# The zoo", "", " ".join((__doc__ or "").split("\n\n")[2].split()), ""]
    for package, title in (("torchvision", "torchvision's classifiers"), ("timm", "timm's families")):
        ours = [row for row in rows if row.network.startswith(package)]
        exact = [row for row in ours if not row.reason]
        doubled = sum(row.precision == "float64" for row in exact)
        parts.append(
            f"**{len(exact)} of {len(ours)} of {title} are cut and exact at every layer**"
            + (f", {doubled} of them in float64 alone." if doubled else ".")
        )
    parts += ["", "| network | million parameters | pixels | layers | largest gap | cutting, s | explaining, s |"]
    parts.append("|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        if not row.reason:
            gap_ = f"{row.gap:.1e}" + (" (float64)" if row.precision == "float64" else "")
            parts.append(
                f"| {row.network} | {row.millions:.1f} | {row.pixels} | {row.layers} | {gap_} | {row.cutting:.1f} | "
                f"{row.explaining:.1f} |"
            )
    wrong = [row for row in rows if row.reason]
    if wrong:
        parts += ["", "## Not exact, and why", "", *(f"- {row.network}: {row.reason}" for row in wrong)]
    return "\n".join(parts) + "\n"


@click.command()
@click.option("--only", default="", help="Networks with this in their name.")
@click.option("--list", "listing", is_flag=True, help="Print the names alone.")
@click.option("--again", is_flag=True, help="Keep the page's exact rows, and measure the others.")
@click.option("--one", hidden=True, help="Measure this network and print it as JSON.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the page here.")
def main(only: str, listing: bool, again: bool, one: str | None, write: Path | None) -> None:
    """Measure every network in a process of its own."""
    if one:
        torch.set_num_threads(1)
        print(json.dumps(asdict(measure(one))))
        return
    chosen = [name for name in names() if only in name]
    if listing:
        print("\n".join(chosen))
        return
    kept = exact_rows(write.read_text(encoding="utf-8")) if again and write else {}
    rows = []
    with ThreadPool(2) as pool:
        for row in pool.imap(lambda name: kept.get(name) or in_a_process(name), chosen):
            rows.append(row)
            print(
                f"{row.network:45} {row.layers:3} layers, gap {row.gap:.1e} {row.precision}, "
                f"{row.explaining:.1f} s {row.reason}",
                flush=True,
            )
            if write and not again:
                write.write_text(table(rows), encoding="utf-8")
    if write:
        write.write_text(table(rows), encoding="utf-8")


def exact_rows(page: str) -> dict[str, Row]:
    """Return the rows of a page's table by network."""
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[0].startswith(("torchvision/", "timm/")):
            name, millions, side, layers, wrong, cutting, explaining = cells
            precision = "float64" if "float64" in wrong else "float32"
            numbers = float(wrong.split()[0]), precision, float(cutting), float(explaining)
            found[name] = Row(name, float(millions), int(side), int(layers), *numbers)
    return found


def in_a_process(name: str) -> Row:
    """Measure one network in a process of its own."""
    command = [sys.executable, __file__, "--one", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800, env=environment)
    if done.returncode == 0:
        return Row(**json.loads(done.stdout.strip().splitlines()[-1]))
    told = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return Row(name, 0, 0, reason=told[0])


if __name__ == "__main__":
    main()
