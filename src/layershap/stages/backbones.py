"""`layershap backbones [PATTERN]`: names that model.backbone takes, with parameters, input size and layers."""

import gc
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from rich.console import Console
from rich.table import Table

from layershap.model import backbones, networks, timm_networks, torchvision_networks
from layershap.progress import progress_bar
from layershap.workspace.errors import InputError, UserError
from layershap.workspace.quiet import quiet_libraries

MOST_CUT = 12  # networks whose layers are counted, which takes a second each or more
MOST_BUILT = 100  # networks whose parameters are counted, without memory for them
LARGEST_CUT = 200  # million parameters


@dataclass(frozen=True)
class Row:
    """A network: million parameters, its input's size, its number of layers; in words, empty where not known."""

    name: str
    parameters: str = ""
    size: str = ""
    layers: str = ""


def run(pattern: str | None) -> None:
    """Print the known backbones; or the networks of torchvision and timm too whose names fit the pattern."""
    quiet_libraries()
    names = list(backbones.BUILDERS) if pattern is None else matching(pattern)
    if not names:
        raise InputError(f"no network's name fits {pattern!r}; 'layershap backbones' says where there are others")
    rows = [row_of(name, len(names)) for name in progress_bar(names, desc="backbones", unit="network", leave=False)]
    table = Table("name", title_justify="left")
    table.add_column("million parameters", justify="right")
    table.add_column("pixels", justify="right")
    table.add_column("layers", justify="right")
    for row in rows:
        table.add_row(row.name, row.parameters, row.size, row.layers)
    # names are to be copied: never shortened
    console = Console(width=max(shutil.get_terminal_size().columns, max(map(len, names)) + 60), soft_wrap=True)
    console.print(table)
    if len(names) > MOST_CUT:
        console.print(f"Layers are counted where at most {MOST_CUT} networks fit, parameters where {MOST_BUILT} do.")
    if pattern is None:
        others = len(torchvision_networks.names()), len(timm_networks.names())
        console.print(
            f"model.backbone also takes torchvision's {others[0]} classifiers by name, timm's {others[1]} as timm/NAME "
            "or timm/NAME.TAG,\nand a function of your own as package.module:function. "
            "'layershap backbones resnet' lists names with resnet in them, 'layershap backbones timm/convnext*' those "
            "that fit."
        )


def matching(pattern: str) -> list[str]:
    """Return the names that a pattern with * or ? fits, or that a part of a name stands in; with a dot, tags too."""
    known = [*backbones.BUILDERS, *(name for name in torchvision_networks.names() if name not in backbones.BUILDERS)]
    found = timm_networks.names_with_tags() if "." in pattern else timm_networks.names()
    names = [*known, *(f"{networks.TIMM}{name}" for name in found)]
    return [name for name in names if fnmatchcase(name, pattern) or pattern in name]


def row_of(name: str, count: int) -> Row:
    """Return what is known of one network, where `count` are asked for."""
    try:
        size = networks.input_of(name).size
    except UserError as error:
        return Row(name, layers=str(error).partition(": ")[2])
    pixels = str(size or "any")
    if count > MOST_BUILT:
        return Row(name, size=pixels)
    millions = parameters(name) / 1e6
    if count > MOST_CUT:
        return Row(name, f"{millions:.1f}", pixels)
    if millions > LARGEST_CUT:
        return Row(name, f"{millions:.1f}", pixels, f"not counted above {LARGEST_CUT} million")
    try:
        layers = str(len(networks.build_backbone(name, "random", size or 224).layers))
    except UserError as error:
        layers = str(error)
    gc.collect()
    return Row(name, f"{millions:.1f}", pixels, layers)


def parameters(name: str) -> int:
    """Return the number of parameters of the whole network, its own classifier included, made without memory."""
    place = backbones.TIMM_NAMES.get(name, name)
    try:
        with torch.device("meta"):
            network = networks.build_network(place, "random").module
    except (NotImplementedError, RuntimeError):  # its code asks for numbers
        network = networks.build_network(place, "random").module
    return sum(parameter.numel() for parameter in network.parameters())
