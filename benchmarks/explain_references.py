"""How to spend a given time on references and segments: the whole error of a heatmap, layer by layer, plan by plan.

    python benchmarks/explain_references.py --write docs/references.md      # after `dvc repro`; about half an hour

A plan says how many references are followed with how many segments, and how many more with one (explain.levels). The
truth is the map against all of `--pool` training images with `--fine` segments each, on the model and the test images
of the project's folder, path layer. A plan's error is |map - truth| relative to |truth| (L2 norms), root mean square
over 400 draws of its references from the pool, as many of each class, with replacement, so that the pool is the
population; mean over images. `covered`: the share of the map's places whose truth lies within twice the standard error
that the plan itself tells, mean over draws, places and images. Seconds are the processor's, one thread, all layers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from layershap.data.features import load_batch
from layershap.data.tables import Dataset, read_table
from layershap.explain import Chain, choose_references, explain_layers
from layershap.explain.levels import standard_error, values_by_reference
from layershap.model.classifier import load_classifier
from layershap.reporting.explained.choice import choose_images
from layershap.workspace import paths

DRAWS = 400


@dataclass(frozen=True)
class Plan:
    """`few` references with `segments`, `more` with one."""

    segments: int
    few: int
    more: int = 0

    def __str__(self) -> str:
        if not self.more:
            return f"{self.few} of {self.segments}"
        return f"{self.few} of {self.segments} and {self.more} of one"


TODAY = Plan(4, 10)
PLANS = (
    TODAY,
    Plan(2, 20),
    Plan(2, 10, 60),
    Plan(2, 14, 40),
    Plan(2, 6, 80),
    Plan(4, 4, 60),
    Plan(1, 120),
)


def by_reference(model: Chain, image: Tensor, pool: Tensor, layers: list[str], segments: int) -> dict[str, Tensor]:
    """Return of each layer the map against each reference of the pool, [J, H, W], in float64."""
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    for part in pool.split(16):
        options = {"path": "layer", "segments": segments, "layers": layers, "keep_references": True}
        for name, layer in explain_layers(model, image, part, **options).items():  # type: ignore[arg-type]
            assert layer.by_reference is not None
            found[name].append(layer.by_reference[0].double())
        print(".", end="", flush=True)
    return {name: torch.cat(parts) for name, parts in found.items()}


def draw(generator: np.random.Generator, labels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` places in `labels` with replacement, class by class in turn."""
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.array([generator.choice(classes[place % len(classes)]) for place in range(count)])


def errors(plan: Plan, maps: dict[int, Tensor], truth: Tensor, labels: np.ndarray) -> tuple[float, float]:
    """Return the relative error of a plan at one layer of one image, and how often its band covers the truth."""
    generator = np.random.default_rng(0)
    squares, covered = [], []
    for _ in range(DRAWS):
        chosen = torch.from_numpy(draw(generator, labels, plan.few + plan.more))
        fine, one = maps[plan.segments][chosen[: plan.few]], maps[1][chosen]
        values = values_by_reference(fine, one if plan.more else None)
        error = standard_error(fine, one if plan.more else None)
        off = values.mean(0) - truth
        squares.append(float((off**2).sum() / (truth**2).sum()))
        covered.append(float((off.abs() <= 2 * error).double().mean()))
    return float(np.sqrt(np.mean(squares))), float(np.mean(covered))


def seconds(model: Chain, image: Tensor, pool: Tensor, plan: Plan) -> float:
    """Return the processor seconds of a plan for one image at all layers, the better of two."""
    found = []
    for _ in range(2):
        start = time.process_time()
        more = pool[plan.few : plan.few + plan.more] if plan.more else None
        explain_layers(model, image, pool[: plan.few], segments=plan.segments, more_references=more)
        found.append(time.process_time() - start)
    return min(found)


def table(rows: dict[Plan, list[float]], layers: list[str], form: Callable[[float], str]) -> list[str]:
    """Return a Markdown table: a row for each plan, a column for each layer."""
    lines = ["| plan | " + " | ".join(layers) + " |", "|---|" + "--:|" * len(layers)]
    return lines + [f"| {plan} | {' | '.join(map(form, values))} |" for plan, values in rows.items()]


@click.command()
@click.option("--pool", "size", default=256, show_default=True, help="Training images in the pool.")
@click.option("--fine", default=16, show_default=True, help="Segments of the truth.")
@click.option("--images", default=2, show_default=True, help="Test images.")
@click.option("--every", default=2, show_default=True, help="Take every so many-th layer, and the last.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the page here.")
def main(size: int, fine: int, images: int, every: int, write: Path | None) -> None:
    """Compare the plans and print, or write, the page."""
    torch.set_num_threads(1)
    dataset = Dataset.read()
    model, description = load_classifier(paths.MODEL_WEIGHTS, paths.MODEL_CARD)
    train = dataset.rows("train")
    rows = train[choose_references(dataset.targets[train].tolist(), size, seed=1)]
    labels = np.asarray(dataset.targets[rows].tolist())
    pool = load_batch([dataset.paths[row] for row in rows], description.image_size)
    layers = sorted({*model.names[::every], model.names[-1]}, key=model.names.index)
    chosen = choose_images(read_table(paths.PREDICTIONS), images, 0, None)["path"].tolist()
    wrong: dict[Plan, list[np.ndarray]] = {plan: [] for plan in PLANS}
    inside: dict[Plan, list[np.ndarray]] = {plan: [] for plan in PLANS}
    needed = sorted({1, fine, *(plan.segments for plan in PLANS)})
    for name in chosen:
        image = load_batch([paths.RAW / name], description.image_size)
        found = {segments: by_reference(model, image, pool, layers, segments) for segments in needed}
        for plan in PLANS:
            pairs = [
                errors(plan, {k: maps[layer] for k, maps in found.items()}, found[fine][layer].mean(0), labels)
                for layer in layers
            ]
            wrong[plan].append(np.array([pair[0] for pair in pairs]))
            inside[plan].append(np.array([pair[1] for pair in pairs]))
        print(name, flush=True)
    spent = {plan: seconds(model, image, pool, plan) for plan in PLANS}
    mean = {plan: list(np.mean(values, 0)) for plan, values in wrong.items()}
    covered = {plan: list(np.mean(values, 0)) for plan, values in inside.items()}
    lines = ["# References and segments: how to spend the time", "", *_about(size, fine, len(chosen)), ""]
    lines += ["| plan | seconds an image |", "|---|--:|", *(f"| {p} | {value:.1f} |" for p, value in spent.items())]
    lines += ["", "## Whole error, relative to the map", "", *table(mean, layers, "{:.2f}".format)]
    lines += ["", "## Places covered by twice the standard error", "", *table(covered, layers, "{:.0%}".format)]
    page = "\n".join(lines) + "\n"
    if write:
        write.write_text(page, encoding="utf-8")
    print(page)


def _about(size: int, fine: int, images: int) -> list[str]:
    text = " ".join((__doc__ or "").split("\n\n")[2].split())
    return [f"{text} Here: a pool of {size}, {fine} segments, {images} images."]


if __name__ == "__main__":
    main()
