"""The experiments on other faces: what in an image's heatmaps comes from the references, layer by layer.

The outlines of other faces are those that Banerjee and Chu (2022) saw in lower layers. Every experiment gives
numbers per image and layer; expectations.py says what was expected of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layershap.explain import Chain, LayerExplanation, blurred_reference, explain_layers
from layershap.explain.outputs import Output, choose_targets
from layershap.study.edges import checkerboard, correlation, edges, partial_correlations, rank, to_grid, without

CHECKERBOARD = 0.08  # amplitude, of the range 0..1
SQUARES = 7  # of the checkerboard, along a side
PLANTED = 8  # references that carry it
CANDIDATES = 100  # training images of each class, among which a reference of that class is looked for
REFERENCES = 32  # in two sets
GROUPS = (1, 2, 4, 8, 16)  # references in a set, for the slopes of (c)

Row = tuple[str, str, str, float]  # experiment, layer, measure, value


@dataclass(frozen=True)
class Materials:
    """What all images share: networks, images to tell references from, and sets of references.

    candidates [C, 3, H, W] and their classes [C]; references [J, 3, H, W], class by class in turn, and their classes
    [J]; mean [1, 3, H, W].
    """

    model: Chain
    random: Chain
    candidates: Tensor
    candidate_classes: np.ndarray
    references: Tensor
    reference_classes: np.ndarray
    mean: Tensor
    segments: int
    output: Output

    def explain(self, image: Tensor, references: Tensor, **options: Any) -> Mapping[str, LayerExplanation]:
        """Explain `image` [1, 3, H, W] on path layer, unless `options` say otherwise."""
        chosen: dict[str, Any] = {"segments": self.segments, "output": self.output, **options}
        return explain_layers(chosen.pop("model", self.model), image, references, **chosen)


class Grids:
    """Maps [C, H, W] of the candidates at every resolution, computed once."""

    def __init__(self, maps: Tensor):
        self.maps = maps
        self.grids: dict[tuple[int, int], np.ndarray] = {}

    def at(self, shape: tuple[int, int], rows: np.ndarray) -> np.ndarray:
        """Return [rows, pixels] at a map's `shape`."""
        if shape not in self.grids:
            self.grids[shape] = to_grid(self.maps, shape)
        return self.grids[shape][rows]


class Outlines:
    """Edges of the candidates and of their mirror images."""

    def __init__(self, candidates: Tensor):
        found = edges(candidates)
        self.plain, self.mirrored = Grids(found), Grids(found.flip(-1))


def single_references(
    image: Tensor, label: int, materials: Materials, outlines: Outlines, generator: np.random.Generator
) -> Iterator[Row]:
    """Yield the experiments with one reference at a time: (a), (d), (g), (h), and the own and reference part."""
    classes = materials.candidate_classes
    true = {
        "same": int(generator.choice(np.flatnonzero(classes == label))),
        "other": int(generator.choice(np.flatnonzero(classes != label))),
    }
    # of one class: maps that follow that class's outlines whatever the reference would rank it too high
    among = {kind: np.flatnonzero(classes == classes[number]) for kind, number in true.items()}
    own = edges(image)
    # how much every candidate differs from the image, pixel by pixel
    differences = Grids((materials.candidates - image).abs().mean(1))
    reference = {kind: materials.candidates[number][None] for kind, number in true.items()}
    for kind, number in true.items():
        rivals = among[kind]
        for layer, found in materials.explain(image, reference[kind]).items():
            assert found.own is not None and found.reference is not None
            yield from _told(f"a {kind}", layer, "", found.heatmap, number, rivals, own, outlines.plain)
            yield from _told(f"a {kind}", layer, " own", found.own, number, rivals, own, outlines.plain)
            yield from _told(f"a {kind}", layer, " reference", found.reference, number, rivals, own, outlines.plain)
            yield from _told(f"a {kind}", layer, " difference", found.heatmap, number, rivals, own, differences)
            yield f"a {kind}", layer, "share", reference_share(found)
            yield f"a {kind}", layer, "own outlines", _own_outlines(found.heatmap, own)
    number, others = true["other"], among["other"]
    with torch.no_grad():
        target = int(choose_targets(materials.model(image), None))
    for layer, found in materials.explain(image, reference["other"], path="image").items():
        yield from _told("a image path", layer, "", found.heatmap, number, others, own, outlines.plain)
    for kind, smooth in (("mean", materials.mean), ("blur", blurred_reference(image))):
        for layer, found in materials.explain(image, smooth).items():
            yield from _told(f"d {kind}", layer, "", found.heatmap, number, others, own, outlines.plain)
            yield f"d {kind}", layer, "own outlines", _own_outlines(found.heatmap, own)
    for layer, found in materials.explain(image, reference["other"].flip(-1)).items():
        yield from _told("g", layer, "", found.heatmap, number, others, own, outlines.mirrored)
        yield from _told("g", layer, " unflipped", found.heatmap, number, others, own, outlines.plain)
    for layer, found in materials.explain(image, reference["other"], model=materials.random, target=target).items():
        yield from _told("h", layer, "", found.heatmap, number, others, own, outlines.plain)
        yield from _told("h", layer, " difference", found.heatmap, number, others, own, differences)


def sets_of_references(
    image: Tensor, label: int, materials: Materials, generator: np.random.Generator
) -> Iterator[Row]:
    """Yield the experiments with sets of references: (b), (c), (e), (f), (i)."""
    half = len(materials.references) // 2
    # sets drawn at random, for each image anew: class by class in turn, as the references come, they would be balanced
    order = generator.permutation(len(materials.references))
    one, other = (
        materials.explain(image, part, keep_references=True)
        for part in (materials.references[:half], materials.references[half:])
    )
    board = checkerboard(image.shape[-1], SQUARES)
    planted = materials.explain(image, (materials.references[:PLANTED] + CHECKERBOARD * board).clamp(0, 1))
    itself = materials.explain(image, image)
    own = edges(image)
    reference_edges = edges(materials.references)
    for layer, first in one.items():
        second = other[layer]
        for name in ("", " own", " reference"):
            pair = [getattr(found, name.strip() or "heatmap").numpy() for found in (first, second)]
            yield "b", layer, f"correlation{name}", correlation(*pair)
        yield "b", layer, "share", (reference_share(first) + reference_share(second)) / 2

        assert first.by_reference is not None and second.by_reference is not None
        single = torch.cat([first.by_reference[0], second.by_reference[0]])
        shape = (single.shape[1], single.shape[2])
        yield from _fading(layer, single[order], to_grid(own, shape), to_grid(reference_edges, shape)[order])

        mine, others = single[materials.reference_classes == label], single[materials.reference_classes != label]
        count = min(len(mine), len(others))
        mine, others = mine[:count].mean(0), others[:count].mean(0)
        yield "e", layer, "correlation", correlation(mine.numpy(), others.numpy())

        pattern = np.concatenate([to_grid(board[None], shape), to_grid(edges(board.expand(1, 3, -1, -1)), shape)])
        with_board = explained_share(planted[layer].heatmap[0].numpy().ravel(), pattern, to_grid(own, shape))
        plain = explained_share(single[:PLANTED].mean(0).numpy().ravel(), pattern, to_grid(own, shape))
        yield "f", layer, "planted", with_board
        yield "f", layer, "plain", plain
        yield "f", layer, "gain", with_board - plain
        change = (planted[layer].heatmap[0] - single[:PLANTED].mean(0)).numpy().ravel()
        yield "f", layer, "change", explained_share(np.abs(change), pattern, to_grid(own, shape))
        yield "f", layer, "size of change", float(np.linalg.norm(change) / single[:PLANTED].mean(0).norm())

        yield "i", layer, "largest value", float(itself[layer].heatmap.abs().max())


def reference_share(found: LayerExplanation) -> float:
    """Return the share of a map's variance over pixels that its reference part gives: -cov(H, reference) / var(H).

    With the own part's cov(H, own) / var(H) it adds to 1 exactly, for H = own - reference. NaN for a constant map.
    """
    assert found.reference is not None
    heatmap, reference = found.heatmap.double().flatten(), found.reference.double().flatten()
    centred = heatmap - heatmap.mean()
    variance = float((centred**2).sum())
    return float(-(centred * (reference - reference.mean())).sum()) / variance if variance > 0 else float("nan")


def explained_share(heatmap: np.ndarray, pattern: np.ndarray, controls: np.ndarray) -> float:
    """Return the share of a map's variance [pixels] that `pattern` [K, pixels] explains beyond `controls`."""
    heatmap = heatmap.astype(float)
    total = float(((heatmap - heatmap.mean()) ** 2).sum())
    if total == 0:
        return float("nan")
    before = float((without(heatmap, controls) ** 2).sum())
    after = float((without(heatmap, np.concatenate([controls, pattern])) ** 2).sum())
    return (before - after) / total


def _told(
    experiment: str,
    layer: str,
    part: str,
    heatmap: Tensor,
    true: int,
    among: np.ndarray,
    own: Tensor,
    candidates: Grids,
) -> Iterator[Row]:
    """Rank the candidates `among` by how closely |heatmap| follows their outlines, or differences, beyond its own."""
    shape = (heatmap.shape[1], heatmap.shape[2])
    size = heatmap[0].abs().double().numpy().ravel()
    scores = partial_correlations(size, candidates.at(shape, among), to_grid(own, shape))
    first, below = rank(scores, int(np.flatnonzero(among == true)[0]))
    yield experiment, layer, f"top 1{part}", first
    yield experiment, layer, f"auc{part}", below


def _own_outlines(heatmap: Tensor, own: Tensor) -> float:
    shape = (heatmap.shape[1], heatmap.shape[2])
    return correlation(heatmap[0].abs().double().numpy().ravel(), to_grid(own, shape)[0])


def _fading(layer: str, single: Tensor, own: np.ndarray, references: np.ndarray) -> Iterator[Row]:
    """Yield amplitudes of the references' outlines, of the input's own and of the spread, by size of the set.

    single [J, h, w]: the map against each reference; own [1, pixels], references [J, pixels]: outlines. An amplitude
    of outlines is the projection of |map| on them, less what the other outlines explain; in units of the size of
    the map against all references.
    """
    maps = single.double().flatten(1).numpy()
    unit = float(np.abs(maps.mean(0)).mean())
    for count in (count for count in GROUPS if count <= len(maps) // 2):
        whole = len(maps) // count * count
        groups = maps[:whole].reshape(-1, count, maps.shape[1]).mean(1)
        outlines = references[:whole].reshape(-1, count, maps.shape[1]).mean(1)
        others, mine = [], []
        for group, outline in zip(np.abs(groups), outlines, strict=True):
            others.append(_projection(group, outline, own))
            mine.append(_projection(group, own[0], outline[None]))
        yield "c", layer, f"others {count}", float(np.mean(others)) / unit if unit else float("nan")
        yield "c", layer, f"own {count}", float(np.mean(mine)) / unit if unit else float("nan")
        spread = groups.std(0, ddof=1)
        yield "c", layer, f"spread {count}", float(np.sqrt((spread**2).mean())) / unit if unit else float("nan")


def _projection(heatmap: np.ndarray, outlines: np.ndarray, controls: np.ndarray) -> float:
    """Return how large, as a root mean square over pixels, the part of a map along `outlines` is, with its sign."""
    direction = without(outlines, controls)
    size = np.linalg.norm(direction)
    return float(without(heatmap, controls) @ direction / size / np.sqrt(len(heatmap))) if size > 0 else 0.0


@dataclass(frozen=True)
class Example:
    """One image [H, W, 3] in 0..1, one reference, and the maps [h, w] of every layer under the name of their kind."""

    image: np.ndarray
    reference: np.ndarray
    maps: Mapping[str, Mapping[str, np.ndarray]]


def example(image: Tensor, label: int, materials: Materials) -> Example:
    """Return one image's maps against one reference of another class: the map, its parts, and the counter-tests."""
    number = int(np.flatnonzero(materials.candidate_classes != label)[0])
    reference = materials.candidates[number][None]
    plain = materials.explain(image, reference)
    with torch.no_grad():
        target = int(choose_targets(materials.model(image), None))
    others = {
        "mirrored reference": materials.explain(image, reference.flip(-1)),
        "random weights": materials.explain(image, reference, model=materials.random, target=target),
        f"{len(materials.references)} references": materials.explain(image, materials.references),
        "blurred image": materials.explain(image, blurred_reference(image)),
    }
    maps = {"map": {name: found.heatmap[0].numpy() for name, found in plain.items()}}
    maps["own part"] = {name: found.own[0].numpy() for name, found in plain.items() if found.own is not None}
    maps["reference part"] = {
        name: found.reference[0].numpy() for name, found in plain.items() if found.reference is not None
    }
    maps |= {
        kind: {name: found.heatmap[0].numpy() for name, found in result.items()} for kind, result in others.items()
    }
    return Example(_picture(image), _picture(reference), maps)


def _picture(image: Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()
