"""Which layer of one network stands beside which of the other."""

from dataclasses import dataclass
from pathlib import Path

from layershap.workspace import paths

ENDING = "_heatmap.npy"
Layer = tuple[int, str]  # number and name


@dataclass(frozen=True)
class Match:
    """The layers that stand beside each other; None where the other network has no such layer.

    by_name: false where the networks are so different that layers are matched by their depth.
    """

    first: Layer | None
    second: Layer | None
    by_name: bool

    @property
    def title(self) -> str:
        """Return number and name, of both where they differ."""
        one, two = (None if layer is None else f"{layer[0]} {layer[1]}" for layer in (self.first, self.second))
        if one == two:
            return str(one)
        if one is None or two is None:
            return f"{one or two} ({'A' if two is None else 'B'} alone)"
        return f"{one} | {two}"


def layers_of(folder: Path) -> list[Layer]:
    """Return the layers that have heatmaps below a folder `explanations/`, in order; names as files have them."""
    names = sorted(file.name for file in (folder / paths.EXPLAINED_ARRAYS.name).glob(f"*{ENDING}"))
    parts = [name.removesuffix(ENDING).partition("_") for name in names]
    return sorted((int(number), name) for number, _, name in parts)


def matched(first: list[Layer], second: list[Layer]) -> list[Match]:
    """Return the layers side by side: by name; by depth where less than half of the names of either are the other's.

    By name: in the first's order, then those that the second alone has. By depth: every layer of the deeper network,
    beside the one at the same share of the way through the other.
    """
    names, others = {name: (number, name) for number, name in first}, {name: (number, name) for number, name in second}
    common = names.keys() & others.keys()
    if 2 * len(common) >= min(len(names), len(others)):
        rows = [Match(layer, others.get(layer[1]), True) for layer in first]
        return rows + [Match(None, layer, True) for layer in second if layer[1] not in names]
    count = max(len(first), len(second))

    def at(layers: list[Layer], place: int) -> Layer:
        return layers[round(place * (len(layers) - 1) / max(count - 1, 1))]

    return [Match(at(first, place), at(second, place), False) for place in range(count)]
