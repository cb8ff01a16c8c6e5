"""Seconds, memory, error and sum gap of this engine beside shap and captum, on the same images, references and machine.

    python benchmarks/explain_speed.py                      # all networks, all rows: some hours on two cores
    python benchmarks/explain_speed.py --network resnet18
    python benchmarks/explain_speed.py --write docs/benchmarks.md
    python benchmarks/explain_speed.py --memory --network vgg19     # peak memory alone, by path and segments

Every row runs in a process of its own, so that its peak memory is its own. `error`: relative L2 distance of the
heatmaps to a fine reference of the same quantity on the same references (this engine, 32 segments, path image or
layer), mean over the layers: what few segments or samples miss. `whole error`: the same distance to a map from 40 other
references, drawn as those are, at 8 segments: what the few references miss as well. Both are left out where the fine
maps would take hours: on VGG19, and of the transformers and ConvNeXt on path layer, where captum too is measured on a
few layers. Neither counts a layer whose map is 0 everywhere, as a transformer's last where the class token decides.
`gap`: the largest |sum - (f(x) - E f)| of any layer, relative to |f(x) - E f|. Rows marked * are measured on fewer
layers and scaled to all: said in `measured on`. A row "and 60 more with one" has 60 further references, one segment.
EfficientNet-Lite0, VGG19 and ResNet-18 are the pipeline's; ViT-S/16 (timm), Swin-T and ConvNeXt-T (torchvision) are cut
by Chain.of as they come, with two classes.

`--memory`: largest resident set of a process that builds the network and explains one image against 10 references, less
the resident set after building; all layers, both paths, 1, 4 and 64 segments (64: against two references, for further
ones come after these).
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from layershap.chain.layouts import Layout
from layershap.explain import Chain, explain_layers

REFERENCES = 10
SEGMENTS = 4
FINE = 32
TOLERANCE = 0.3
MORE = 60  # further references with one segment
MANY, MANY_SEGMENTS = 40, 8  # of the map that is taken for the truth about all references
PIPELINE = ("efficientnet_lite0", "vgg19", "resnet18")
CUT = ("vit_small_patch16_224", "swin_t", "convnext_tiny")
NETWORKS = (*PIPELINE, *CUT)
MEMORY_SEGMENTS = {1: REFERENCES, 4: REFERENCES, 64: 2}

OTHERS = "## Many images"  # heading from which on a page is not this benchmark's


@dataclass
class Row:
    """A line of the table."""

    network: str
    method: str
    seconds: float
    peak_gib: float
    error: float | None
    whole_error: float | None
    gap: float | None
    measured_on: str


def build(network: str, size: int) -> Chain:
    """Return the network with ImageNet weights where a package brings them, else with random ones."""
    from layershap.model.classifier import Description, build_classifier
    from layershap.torchvision_guard import torchvision

    torch.manual_seed(0)
    if network in CUT:
        import timm

        create: Any = (
            partial(timm.create_model, network) if "patch" in network else getattr(torchvision.models, network)
        )
        return Chain.of(create(num_classes=2).requires_grad_(False))
    description = Description(network, size, ["a", "b"], 0, [64], 0.5)
    model = build_classifier(description, "imagenet" if network == "efficientnet_lite0" else "random")
    return model.requires_grad_(False)


def inputs(size: int, references: int = REFERENCES) -> tuple[Tensor, Tensor]:
    """Return an image and references: smooth random pictures in 0..1, the first of them the same for any number."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(1 + references, 3, size // 16, size // 16, generator=generator)
    smooth = nn.functional.interpolate(small, size=(size, size), mode="bicubic").clamp(0, 1)
    return smooth[:1], smooth[1:]


def margin(logits: Tensor) -> Tensor:
    """Return s_1 - s_0, the explained output, for explainers that differentiate it."""
    return logits[:, 1] - logits[:, 0]


Maps = dict[str, Tensor]


@dataclass
class Found:
    """What a row gives by layer: maps, sums of all values, and, where it has references of its own, the sums' gaps."""

    maps: Maps
    sums: dict[str, float]
    gaps: dict[str, float] | None = None


Run = Callable[[Chain, Tensor, Tensor], Found]


def own(path: Any, segments: int, tolerance: float | None = None, more: int = 0) -> Run:
    """Return a row of this engine."""

    def run(model: Chain, image: Tensor, references: Tensor) -> Found:
        others = inputs(image.shape[-1], REFERENCES + more)[1][REFERENCES:] if more else None
        result = explain_layers(
            model, image, references, path=path, segments=segments, tolerance=tolerance, more_references=others
        )
        sums = {name: float(layer.total[0]) for name, layer in result.items()}
        gaps = {name: float(layer.gap[0]) for name, layer in result.items()}
        return Found({name: layer.heatmap[0] for name, layer in result.items()}, sums, gaps)

    return run


class Margin(nn.Module):
    """A part of the chain with the margin as its output."""

    def __init__(self, model: Chain, start: int):
        super().__init__()
        self.model, self.start = model, start

    def forward(self, features: Tensor) -> Tensor:
        """Return the margin [N, 1]."""
        return margin(self.model.tail(features, self.start))[:, None]


def shap_tails(samples: int, every: int) -> Run:
    """Return the row of shap's GradientExplainer on the tails, on every n-th layer."""

    def run(model: Chain, image: Tensor, references: Tensor) -> Found:
        import shap

        maps: Maps = {}
        for index in range(0, len(model.names), every):
            with torch.no_grad():
                features = model.features(image, stop=index + 1)
                others = model.features(references, stop=index + 1)
            explainer = shap.GradientExplainer(Margin(model, index + 1), others, batch_size=10)
            values = explainer.shap_values(features, nsamples=samples, rseed=0)
            maps[model.names[index]] = torch.from_numpy(values[0, ..., 0]).sum(0)
        return Found(maps, {name: float(values.sum()) for name, values in maps.items()})

    return run


def shap_layer(samples: int, every: int) -> Run:
    """Return the row of shap's GradientExplainer((model, layer)), on every n-th layer."""

    def run(model: Chain, image: Tensor, references: Tensor) -> Found:
        import shap

        whole = Margin(model, 0)
        maps: Maps = {}
        # its hook takes the layer's input: the input of the next module is this layer's output
        following = [*list(model.layers)[1:], model.head]
        for index in range(0, len(model.names), every):
            explainer = shap.GradientExplainer((whole, following[index]), references, batch_size=10)
            values = explainer.shap_values(image, nsamples=samples, rseed=0)
            maps[model.names[index]] = torch.from_numpy(values[0, ..., 0]).sum(0)
        return Found(maps, {name: float(values.sum()) for name, values in maps.items()})

    return run


def captum_loop(method: str, steps: int, every: int) -> Run:
    """Return the row of a loop over layers and references with captum's explainer `method`."""

    def run(model: Chain, image: Tensor, references: Tensor) -> Found:
        from captum import attr

        maps: Maps = {}
        sums: dict[str, float] = {}
        for index in range(0, len(model.names), every):
            explainer = getattr(attr, method)(lambda batch: margin(model(batch)), model.layers[index])
            total: Any = 0
            for reference in references:
                found = explainer.attribute(image, reference[None], n_steps=steps, method="riemann_trapezoid")
                total = total + found.detach() / len(references)
            maps[model.names[index]] = on_grid(total, image)
            sums[model.names[index]] = float(total.sum())
        return Found(maps, sums)

    return run


def on_grid(values: Tensor, image: Tensor) -> Tensor:
    """Return a layer's values [1, ...] summed over channels: maps, or tokens on their grid without those before it."""
    layout = Layout.of(values, *image.shape[-2:])
    return layout.on_grid(layout.maps(values).sum(1)[0])


def _share(model: Chain, maps: Maps) -> tuple[str, float]:
    """Return which layers were measured and the factor to all, by the work that each layer costs on the average."""
    factor = len(model.names) / len(maps)
    return ("all" if factor == 1 else f"{len(maps)} of {len(model.names)} layers *"), factor


def rows(network: str) -> dict[str, Run]:
    """Return the rows of a network by name; deep ones measure the slow peers on a part of their layers."""
    every = {"vgg19": 5, "efficientnet_lite0": 3, "resnet18": 1}.get(network, 4)
    samples = REFERENCES * SEGMENTS
    found: dict[str, Any] = {}

    def add(path: str, most: int) -> None:
        for segments in (1, 2, 4, 8):
            if segments <= most:
                found[f"layershap, path {path}, K = {segments}"] = own(path, segments)
        if network != "vgg19":
            found[f"layershap, path {path}, K = 2 and {MORE} more with one"] = own(path, 2, more=MORE)
        if network in ("efficientnet_lite0", "resnet18"):
            found[f"layershap, path {path}, tolerance {TOLERANCE}"] = own(path, 1, TOLERANCE)

    add("image", 8)
    found[f"captum LayerConductance, {SEGMENTS} steps (path image)"] = captum_loop("LayerConductance", SEGMENTS, every)
    if network in PIPELINE:  # shap's sums are of maps [N, C, H, W]
        found[f"shap (model, layer), {samples} samples"] = shap_layer(samples, every)
    add("layer", 8 if network in ("efficientnet_lite0", "resnet18") else 2 if network in CUT else 4)
    found[f"captum LayerIntegratedGradients, {SEGMENTS} steps (path layer)"] = captum_loop(
        "LayerIntegratedGradients", SEGMENTS, every
    )
    if network in PIPELINE:
        for number in (samples, samples * 4, samples * 16)[: 2 if network == "vgg19" else 3]:
            found[f"shap (tails), {number} samples (path layer)"] = shap_tails(number, every)
    return found


def measure(network: str, method: str, size: int, fine: Path | None) -> Row:
    """Run one row in this process."""
    model, (image, references) = build(network, size), inputs(size)
    action = rows(network)[method]
    with torch.no_grad():
        model(references[:2])
    warm_up()
    before = peak()
    started = time.perf_counter()
    found = action(model, image, references)
    seconds = time.perf_counter() - started
    memory = peak() - before
    maps = found.maps
    measured_on, factor = _share(model, maps)
    seconds *= factor
    with torch.no_grad():
        change = float(margin(model(image)) - margin(model(references)).mean())
    gaps = found.gaps or {name: value - change for name, value in found.sums.items()}
    gap = max(abs(value) for value in gaps.values()) / abs(change)
    errors: dict[str, float | None] = {"": None, "whole ": None}
    if fine and fine.exists() and "(model, layer)" not in method:
        truth = torch.load(fine, weights_only=True)
        for kind in errors:
            expected = truth.get(kind + ("layer" if "path layer" in method else "image"))
            errors[kind] = distance(maps, expected) if expected else None
        if "more" in method:
            errors[""] = None  # its references are others
    return Row(network, method, seconds, memory, errors[""], errors["whole "], gap, measured_on)


def distance(maps: Maps, truth: Maps) -> float:
    """Return the relative L2 distance of maps to others, mean over the layers that have any."""
    found = [float((maps[name] - truth[name]).norm() / truth[name].norm()) for name in maps if truth[name].any()]
    return sum(found) / len(found)


def fine_maps(network: str, size: int) -> dict[str, Maps]:
    """Return the maps that others are compared with, by kind of error and path."""
    model, (image, references) = build(network, size), inputs(size)
    many = inputs(size, REFERENCES + MORE + MANY)[1][REFERENCES + MORE :]
    found: dict[str, Maps] = {}
    for path in ("image", "layer") if network in PIPELINE else ("image",):
        found[path] = own(path, FINE)(model, image, references).maps
        found[f"whole {path}"] = own(path, MANY_SEGMENTS)(model, image, many).maps
    return found


def warm_up() -> None:
    """Let numba load its kernels, which it does once in a process."""
    layers = [("one", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))]
    chain = Chain(layers, nn.Sequential(nn.Flatten(), nn.Linear(4 * 7 * 7, 2)))
    for images in (torch.rand(3, 3, 16, 16), torch.rand(3, 3, 16, 16).to(memory_format=torch.channels_last)):
        explain_layers(chain, images[:1], images[1:], segments=2)


def peak() -> float:
    """Return the largest memory this process ever had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def memory(network: str, path: Any, segments: int, size: int) -> float:
    """Return the GiB by which this process grows at most while it explains, from those it holds with the network."""
    model, (image, references) = build(network, size), inputs(size)
    warm_up()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30
    explain_layers(model, image, references[: MEMORY_SEGMENTS[segments]], path=path, segments=segments)
    return peak() - before


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
@click.option("--memory", "memory_alone", is_flag=True, help="Peak memory alone, by path and segments.")
@click.option("--row", default="", hidden=True)
@click.option("--fine", type=click.Path(path_type=Path), hidden=True)
def main(
    networks: tuple[str, ...],
    size: int,
    threads: int,
    write: Path | None,
    memory_alone: bool,
    row: str,
    fine: Path,
) -> None:
    """Measure."""
    from layershap.hardware.memory import keep_freed_memory

    # for all rows alike, the peers' too
    keep_freed_memory()
    torch.set_num_threads(threads)
    if row == "fine":
        torch.save(fine_maps(networks[0], size), fine)
        return
    if row.startswith("memory"):
        path, segments = row.split()[1:]
        print(memory(networks[0], path, int(segments), size))
        return
    if row:
        print(json.dumps(asdict(measure(networks[0], row, size, fine))))
        return
    if memory_alone:
        report_memory(networks or NETWORKS, size, threads)
        return
    report(networks or NETWORKS, size, threads, write)


def report_memory(networks: tuple[str, ...], size: int, threads: int) -> None:
    """Measure and print peak memory by path and segments."""
    print("| network | path | segments | references | GiB beyond the model |\n|---|---|--:|--:|--:|")
    for network in networks:
        for path in ("image", "layer"):
            for segments, references in MEMORY_SEGMENTS.items():
                common = ("--network", network, "--size", str(size), "--threads", str(threads))
                (line,) = in_own_process("--row", f"memory {path} {segments}", *common)
                print(f"| {network} | {path} | {segments} | {references} | {float(line):.2f} |", flush=True)


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
    # what other benchmarks wrote on this page stays
    others = "".join(write.read_text().partition(OTHERS)[1:]) if write and write.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            fine = str(Path(folder) / network)
            common = ("--network", network, "--size", str(size), "--threads", str(threads), "--fine", fine)
            if network != "vgg19":
                list(in_own_process("--row", "fine", *common))
            forward = plain_forward(network, size)
            lines += ["", f"## {network}", "", f"A plain forward pass takes {forward:.3f} s an image.", ""]
            lines += [
                "| method | seconds | forwards a point | peak GiB | error | whole error | gap | measured on |",
                "|---|--:|--:|--:|--:|--:|--:|---|",
            ]
            for method in rows(network):
                (line,) = in_own_process("--row", method, *common)
                found = Row(**json.loads(line))
                points = REFERENCES * next((k for k in (1, 2, 4, 8) if f"K = {k}" in method), SEGMENTS)
                fixed = "path image" in method and "tolerance" not in method and "more" not in method
                each = f"{found.seconds / forward / points:.2f}" if fixed else ""
                errors = ["" if value is None else f"{value:.3f}" for value in (found.error, found.whole_error)]
                lines.append(
                    f"| {method} | {found.seconds:.2f} | {each} | {found.peak_gib:.2f} | {errors[0]} "
                    f"| {errors[1]} | {found.gap:.1e} | {found.measured_on} |"
                )
                print(lines[-1], flush=True)
                if write:
                    write.write_text("\n".join(lines) + "\n\n" + others)


if __name__ == "__main__":
    main()
