"""The heatmaps of both models on the page: pictures of a map's own pixels, two on one scale, and their difference."""

from typing import Any

import numpy as np

from layershap.plots import colours
from layershap.plots.sheets import density, signed_limit
from layershap.reporting.comparison.agreement import beyond, correlation, maps_of
from layershap.reporting.comparison.explained import Common, Explained
from layershap.reporting.comparison.layers import Match
from layershap.reporting.embedding import address
from layershap.reporting.explained.stored import StoredMaps

MOST_IMAGES = 6
ROOM = 5_500_000  # letters of the page for all heatmaps together
SIZES = ((MOST_IMAGES, 112), (MOST_IMAGES, 56), (MOST_IMAGES, 28), (3, 28), (1, 28), (1, 14))  # images, largest side


def tiles(found: Explained) -> tuple[list[tuple[Common, list[dict[str, Any]]]], int]:
    """Return the images that are shown, each with a card per pair of layers, and the largest side of a map in pixels.

    As many images and pixels as there is room for.
    """
    for count, side in SIZES:
        shown = [
            (image, [_card(found, match, image, side) for match, _ in found.layers]) for image in found.images[:count]
        ]
        letters = sum(len(tile or "") for _, cards in shown for card in cards for tile in card["tiles"])
        if letters <= ROOM:
            break
    return shown, side


def _card(found: Explained, match: Match, image: Common, side: int) -> dict[str, Any]:
    """Return a layer's title, limit, numbers, and three pictures: A, B, and B - A where both have the same places."""
    names = (image.first["name"], image.second["name"])
    one = _density(found.first, match.first, names[0])
    two = _density(found.second, match.second, names[1])
    limit = signed_limit(np.concatenate([values.ravel() for values in (one, two) if values is not None]))

    def drawn(values: np.ndarray | None, pale: np.ndarray | None = None) -> str | None:
        if values is None:
            return None
        small = None if pale is None else colours.shrunk(pale.astype(float), side) > 0.5
        return address(colours.picture(colours.shrunk(values, side) / limit, small))

    card: dict[str, Any] = {"title": match.title, "limit": limit, "correlation": None, "beyond": None}
    card["tiles"] = [drawn(one), drawn(two), None]
    card["sizes"] = [None if values is None else values.shape for values in (one, two)]
    maps = maps_of(match, found.first, found.second, *names) if image.same_output else None
    if maps is not None:
        alike = correlation(maps[0], maps[1])
        where = beyond(*maps)
        card["correlation"] = alike if np.isfinite(alike) else None
        card["beyond"] = None if where is None else float(where.mean())
        card["tiles"][2] = drawn(density(maps[1]) - density(maps[0]), None if where is None else ~where)
    return card


def _density(maps: StoredMaps, layer: tuple[int, str] | None, name: str) -> np.ndarray | None:
    return None if layer is None else density(maps.maps(layer[0], [name])[0].astype(np.float64))


def legend() -> str:
    """Return the address of a picture of the colours from below to above 0."""
    return address(colours.picture(np.tile(np.linspace(-1, 1, 128), (4, 1))))
