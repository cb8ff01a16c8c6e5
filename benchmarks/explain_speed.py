"""Seconds, memory, error and sum gap of this engine beside shap and captum, on the same images, references and machine.

    python benchmarks/explain_speed.py                      # all networks, all rows: about an hour on two cores
    python benchmarks/explain_speed.py --network resnet18
    python benchmarks/explain_speed.py --write docs/benchmarks.md

Every row runs in a process of its own, so that its peak memory is its own. `error`: relative L2 distance of the
heatmaps to a fine reference of the same quantity (this engine, 32 segments, path image or layer), mean over the
layers; not measured on VGG19, whose fine reference would take an hour. `gap`: the largest |sum - (f(x) - E f)| of any
layer, relative to |f(x) - E f|. Rows marked * are measured on fewer layers and scaled to all: said in `measured on`.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from layershap.explain import Chain, explain_layers

REFERENCES = 10
SEGMENTS = 4
FINE = 32
TOLERANCE = 0.3
NETWORKS = ("efficientnet_lite0", "vgg19", "resnet18")


@dataclass
class Row:
    """A line of the table."""

    network: str
    method: str
    seconds: float
    peak_gib: float
    error: float | None
    gap: float | None
    measured_on: str


def build(network: str, size: int) -> Chain:
    """Return the network with ImageNet weights where a package brings them, else with random ones."""
    from layershap.model.classifier import Description, build_classifier

    torch.manual_seed(0)
    description = Description(network, size, ["a", "b"], 0, [64], 0.5)
    model = build_classifier(description, "imagenet" if network == "efficientnet_lite0" else "random")
    return model.requires_grad_(False)


def inputs(size: int) -> tuple[Tensor, Tensor]:
    """Return an image and references: smooth random pictures in 0..1."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(1 + REFERENCES, 3, size // 16, size // 16, generator=generator)
    smooth = nn.functional.interpolate(small, size=(size, size), mode="bicubic").clamp(0, 1)
    return smooth[:1], smooth[1:]


def margin(logits: Tensor) -> Tensor:
    """Return s_1 - s_0, the explained output, for explainers that differentiate it."""
    return logits[:, 1] - logits[:, 0]


Maps = dict[str, Tensor]


def own(
    path: Any, segments: int, tolerance: float | None = None
) -> Callable[[Chain, Tensor, Tensor], tuple[Maps, str, float]]:
    """Return a row of this engine."""

    def run(model: Chain, image: Tensor, references: Tensor) -> tuple[Maps, str, float]:
        result = explain_layers(model, image, references, path=path, segments=segments, tolerance=tolerance)
        return {name: layer.heatmap[0] for name, layer in result.items()}, "all", 1.0

    return run


class Margin(nn.Module):
    """A part of the chain with the margin as its output."""

    def __init__(self, model: Chain, start: int):
        super().__init__()
        self.model, self.start = model, start

    def forward(self, features: Tensor) -> Tensor:
        """Return the margin [N, 1]."""
        return margin(self.model.tail(features, self.start))[:, None]


def shap_tails(samples: int, every: int) -> Callable[[Chain, Tensor, Tensor], tuple[Maps, str, float]]:
    """Return the row of shap's GradientExplainer on the tails, on every n-th layer."""

    def run(model: Chain, image: Tensor, references: Tensor) -> tuple[Maps, str, float]:
        import shap

        maps: Maps = {}
        for index in range(0, len(model.names), every):
            with torch.no_grad():
                features = model.features(image, stop=index + 1)
                others = model.features(references, stop=index + 1)
            explainer = shap.GradientExplainer(Margin(model, index + 1), others, batch_size=10)
            values = explainer.shap_values(features, nsamples=samples, rseed=0)
            maps[model.names[index]] = torch.from_numpy(values[0, ..., 0]).sum(0)
        return maps, *_share(model, maps)

    return run


def shap_layer(samples: int, every: int) -> Callable[[Chain, Tensor, Tensor], tuple[Maps, str, float]]:
    """Return the row of shap's GradientExplainer((model, layer)), on every n-th layer."""

    def run(model: Chain, image: Tensor, references: Tensor) -> tuple[Maps, str, float]:
        import shap

        whole = Margin(model, 0)
        maps: Maps = {}
        # its hook takes the layer's input: the input of the next module is this layer's output
        following = [*list(model.layers)[1:], model.head]
        for index in range(0, len(model.names), every):
            explainer = shap.GradientExplainer((whole, following[index]), references, batch_size=10)
            values = explainer.shap_values(image, nsamples=samples, rseed=0)
            maps[model.names[index]] = torch.from_numpy(values[0, ..., 0]).sum(0)
        return maps, *_share(model, maps)

    return run


def captum_loop(method: str, steps: int, every: int) -> Callable[[Chain, Tensor, Tensor], tuple[Maps, str, float]]:
    """Return the row of a loop over layers and references with captum's explainer `method`."""

    def run(model: Chain, image: Tensor, references: Tensor) -> tuple[Maps, str, float]:
        from captum import attr

        maps: Maps = {}
        for index in range(0, len(model.names), every):
            explainer = getattr(attr, method)(lambda batch: margin(model(batch)), model.layers[index])
            total: Any = 0
            for reference in references:
                found = explainer.attribute(image, reference[None], n_steps=steps, method="riemann_trapezoid")
                total = total + found[0].sum(0).detach()
            maps[model.names[index]] = total / len(references)
        return maps, *_share(model, maps)

    return run


def _share(model: Chain, maps: Maps) -> tuple[str, float]:
    """Return which layers were measured and the factor to all, by the work that each layer costs on the average."""
    factor = len(model.names) / len(maps)
    return ("all" if factor == 1 else f"{len(maps)} of {len(model.names)} layers *"), factor


def rows(network: str) -> dict[str, Callable[[Chain, Tensor, Tensor], tuple[Maps, str, float]]]:
    """Return the rows of a network by name; deep ones measure the slow peers on a part of their layers."""
    every = {"vgg19": 5, "efficientnet_lite0": 3, "resnet18": 1}[network]
    samples = REFERENCES * SEGMENTS
    found: dict[str, Any] = {}

    def add(path: str, most: int) -> None:
        for segments in (1, 2, 4, 8):
            if segments <= most:
                found[f"layershap, path {path}, K = {segments}"] = own(path, segments)
        if network != "vgg19":
            found[f"layershap, path {path}, tolerance {TOLERANCE}"] = own(path, 1, TOLERANCE)

    add("image", 8)
    found[f"captum LayerConductance, {SEGMENTS} steps (path image)"] = captum_loop("LayerConductance", SEGMENTS, every)
    found[f"shap (model, layer), {samples} samples"] = shap_layer(samples, every)
    add("layer", 4 if network == "vgg19" else 8)
    found[f"captum LayerIntegratedGradients, {SEGMENTS} steps (path layer)"] = captum_loop(
        "LayerIntegratedGradients", SEGMENTS, every
    )
    found[f"shap (tails), {samples} samples (path layer)"] = shap_tails(samples, every)
    found[f"shap (tails), {samples * 4} samples (path layer)"] = shap_tails(samples * 4, every)
    if network != "vgg19":
        found[f"shap (tails), {samples * 16} samples (path layer)"] = shap_tails(samples * 16, every)
    return found


def measure(network: str, method: str, size: int, fine: Path) -> Row:
    """Run one row in this process."""
    model, (image, references) = build(network, size), inputs(size)
    action = rows(network)[method]
    with torch.no_grad():
        model(references[:2])
    warm_up()
    before = peak()
    started = time.perf_counter()
    maps, measured_on, factor = action(model, image, references)
    seconds = (time.perf_counter() - started) * factor
    memory = peak() - before
    with torch.no_grad():
        change = float(margin(model(image)) - margin(model(references)).mean())
    gap = max(abs(float(values.sum()) - change) for values in maps.values()) / abs(change)
    error = None
    if fine.exists() and "(model, layer)" not in method:
        truth = torch.load(fine, weights_only=True)["layer" if "path layer" in method else "image"]
        error = sum(float((maps[name] - truth[name]).norm() / truth[name].norm()) for name in maps) / len(maps)
    return Row(network, method, seconds, memory, error, gap, measured_on)


def warm_up() -> None:
    """Let numba load its kernels, which it does once in a process."""
    layers = [("one", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))]
    chain = Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(4 * 7 * 7, 2)))
    for images in (torch.rand(3, 3, 16, 16), torch.rand(3, 3, 16, 16).to(memory_format=torch.channels_last)):
        explain_layers(chain, images[:1], images[1:], segments=2)


def peak() -> float:
    """Return the largest memory this process ever had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def plain_forward(network: str, size: int) -> float:
    """Return seconds of a plain forward pass per image, in a batch of 5."""
    model, (_, references) = build(network, size), inputs(size)
    with torch.inference_mode():
        model(references[:5])
        started = time.perf_counter()
        for _ in range(3):
            model(references[:5])
    return (time.perf_counter() - started) / 15


def in_own_process(*arguments: str) -> Iterator[str]:
    """Run this script with the arguments and yield the lines it prints."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr[-2000:])
    yield from done.stdout.splitlines()


@click.command()
@click.option("--network", "networks", multiple=True, type=click.Choice(NETWORKS), help="Default: all.")
@click.option("--size", default=224, show_default=True, help="Pixels, height and width.")
@click.option("--threads", default=2, show_default=True)
@click.option("--write", type=click.Path(path_type=Path), help="Write the table to this file.")
@click.option("--row", hidden=True)
@click.option("--fine", type=click.Path(path_type=Path), hidden=True)
def main(networks: tuple[str, ...], size: int, threads: int, write: Path | None, row: str, fine: Path) -> None:
    """Measure."""
    from layershap.model.runtime import keep_freed_memory

    # for all rows alike, the peers' too
    keep_freed_memory()
    torch.set_num_threads(threads)
    if row == "fine":
        model, (image, references) = build(networks[0], size), inputs(size)
        truth = {path: own(path, FINE)(model, image, references)[0] for path in ("image", "layer")}
        torch.save(truth, fine)
        return
    if row:
        print(json.dumps(asdict(measure(networks[0], row, size, fine))))
        return
    report(networks or NETWORKS, size, threads, write)


def report(networks: tuple[str, ...], size: int, threads: int, write: Path | None) -> None:
    """Measure all rows, print and write the tables."""
    import platform
    import tempfile
    from importlib.metadata import version

    names = ("torch", "shap", "captum", "numba", "numpy")
    lines = [
        "# Benchmarks",
        "",
        f"One image of {size} x {size}, {REFERENCES} references, all layers, {threads} threads of one "
        f"{platform.machine()} machine; {', '.join(f'{name} {version(name)}' for name in names)}. Written by "
        "`python benchmarks/explain_speed.py --write docs/benchmarks.md`; its docstring says what the columns are. "
        "Networks other than EfficientNet-Lite0 have random weights, which is enough for time, memory and gaps.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            fine = str(Path(folder) / network)
            common = ("--network", network, "--size", str(size), "--threads", str(threads), "--fine", fine)
            if network != "vgg19":
                list(in_own_process("--row", "fine", *common))
            forward = plain_forward(network, size)
            lines += ["", f"## {network}", "", f"A plain forward pass takes {forward:.3f} s an image.", ""]
            lines += [
                "| method | seconds | forwards a point | peak GiB | error | gap | measured on |",
                "|---|--:|--:|--:|--:|--:|---|",
            ]
            for method in rows(network):
                (line,) = in_own_process("--row", method, *common)
                found = Row(**json.loads(line))
                points = REFERENCES * next((k for k in (1, 2, 4, 8) if f"K = {k}" in method), SEGMENTS)
                fixed = "path image" in method and "tolerance" not in method
                each = f"{found.seconds / forward / points:.2f}" if fixed else ""
                error = "" if found.error is None else f"{found.error:.3f}"
                lines.append(
                    f"| {method} | {found.seconds:.2f} | {each} | {found.peak_gib:.2f} | {error} | {found.gap:.1e} "
                    f"| {found.measured_on} |"
                )
                print(lines[-1], flush=True)
                if write:
                    write.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
