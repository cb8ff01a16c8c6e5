"""Data sources: each lists its images with label, group, probability and split. Nothing is decoded here."""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from layershap.data.download import download
from layershap.data.images import SUFFIXES
from layershap.data.tables import SPLITS
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError


@dataclass(frozen=True)
class SourceImage:
    """One image of a source.

    `group` divides a class for stratification (cell type; empty: none). `probability` is the source's own
    probability of class number 1 (None: unknown). `split` is the source's own (empty: none).
    """

    path: Path
    label: str
    group: str = ""
    probability: float | None = None
    split: str = ""


def list_images(data: settings.Data, downloads: Path) -> list[SourceImage]:
    """List the images of the source in a stable order, at most `per_class` of each class and split."""
    if data.source == "elpv":
        images = list(elpv())
    elif data.source == "oxford_pets":
        images = oxford_pets(downloads)
    else:
        images = folder(Path(data.path))
    return limit(images, data.per_class)


def class_names(images: list[SourceImage]) -> list[str]:
    """Return the classes in the order of their numbers, from 0: alphabetical, but functional before defective."""
    names = {image.label for image in images}
    return ["functional", "defective"] if names == {"functional", "defective"} else sorted(names)


def limit(images: list[SourceImage], per_class: int | None) -> list[SourceImage]:
    """Keep the first `per_class` images of each class and split."""
    if per_class is None:
        return images
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for image in images:
        key = (image.label, image.split)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= per_class:
            kept.append(image)
    return kept


def elpv() -> Iterator[SourceImage]:
    """Yield the 2,624 electroluminescence images of solar cells that the package elpv-dataset ships.

    Defective: defect probability of at least 0.5; group: mono or poly crystalline. Deitsch et al., Solar Energy 185
    (2019). Licence of the images: CC BY-NC-SA 4.0.
    """
    with as_file(files("elpv_dataset") / "data") as root:
        table = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "type"])
        for path, probability, cell_type in table.itertuples(index=False):
            label = "defective" if probability >= 0.5 else "functional"
            yield SourceImage(root / path, label, cell_type, probability)


def oxford_pets(
    downloads: Path, resources: Sequence[tuple[str, str]] | None = None, timeout: float = 30.0
) -> list[SourceImage]:
    """Download the Oxford-IIIT Pet data set, verified, and list its cats and dogs (trainval, then test).

    `resources`: (address, MD5) of the two archives; torchvision's own by default. `downloads`: kept between runs, so
    that a broken download goes on where it stopped.
    """
    from layershap.torchvision_guard import torchvision

    pets = torchvision.datasets.OxfordIIITPet
    root = downloads / "oxford-iiit-pet"
    for address, checksum in resources or pets._RESOURCES:
        archive = download(address, downloads / address.rpartition("/")[2], md5=checksum, timeout=timeout)
        extract(archive, root)
    images = []
    try:
        for part in ("trainval", "test"):
            data_set = pets(downloads, split=part, target_types="binary-category", download=False)
            images += [
                SourceImage(Path(path), data_set.bin_classes[label].lower())
                for path, label in zip(data_set._images, data_set._bin_labels, strict=True)
            ]
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{root}: not the layout of Oxford-IIIT Pet ({error}); remove it and run again") from None
    return images


def extract(archive: Path, target: Path) -> None:
    """Unpack a tar archive into `target`; members that would land outside, and devices, are refused."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: refused, its content would be written outside: {error}") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); remove it and run again") from None


def folder(root: Path) -> list[SourceImage]:
    """List the images below `root`: class folders, or train/ and test/ (val/ optional) with class folders in each."""
    if not root.is_dir():
        raise InputError(f"data.path: no folder {root}; set it to a folder with one folder per class")
    names = [entry.name for entry in _folders(root)]
    if "train" in names and "test" in names:
        parts = [name for name in SPLITS if name in names]
        extra = sorted(set(names) - set(parts))
        if extra:
            raise InputError(f"data.path: {root} has {', '.join(extra)} beside train/ and test/; remove or move it")
        images = [image for part in parts for image in _class_folders(root / part, part)]
        _check_splits(images, parts, root)
    else:
        images = list(_class_folders(root, ""))
    labels = {image.label for image in images}
    if len(labels) < 2:
        found = f"only class {labels.pop()}" if labels else "no class folder with images"
        raise InputError(f"data.path: {root} has {found}; two classes at least are needed, a folder each")
    return images


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_folders(root: Path, split: str) -> Iterator[SourceImage]:
    for class_folder in _folders(root):
        paths = sorted(_image_files(class_folder))
        if not paths:
            raise InputError(f"{class_folder}: no image in this class folder; fill it or remove it")
        yield from (SourceImage(path, class_folder.name, split=split) for path in paths)


def _image_files(class_folder: Path) -> Iterator[Path]:
    """Yield what looks like an image by its suffix; links are followed for files, never for folders."""
    for folder_name, folders, names in os.walk(class_folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder_name, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield path


def _check_splits(images: list[SourceImage], parts: list[str], root: Path) -> None:
    labels = {image.label for image in images}
    for part in parts:
        missing = labels - {image.label for image in images if image.split == part}
        if missing:
            raise InputError(f"data.path: {root / part} has no images of class {', '.join(sorted(missing))}")
