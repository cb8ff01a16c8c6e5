"""Data sources: each lists its images with label, group, probability and split. Nothing is decoded here."""

import hashlib
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from layershap.data.download import download
from layershap.data.images import PICTURES
from layershap.data.tables import SPLITS, natural
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError

# what systems and programs leave beside pictures, in small letters; with all that is hidden it is no image and no class
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin",
          "system volume information", "lost+found", "__pycache__"}  # fmt: skip
OTHER_NAMES = {"training": "train", "testing": "test", "validation": "val", "valid": "val", "dev": "val"}


@dataclass(frozen=True)
class SourceImage:
    """One image of a source.

    `name` is its path within the class (empty: the file's name). `group` divides a class for stratification (cell
    type; empty: none). `probability` is the source's own probability of class number 1 (None: unknown). `split` is the
    source's own (empty: none).
    """

    path: Path
    label: str
    group: str = ""
    probability: float | None = None
    split: str = ""
    name: str = ""

    @property
    def target(self) -> str:
        """Its path below data/raw."""
        return Path(self.label, self.split, self.name or self.path.name).as_posix()


def list_images(data: settings.Data, downloads: Path) -> list[SourceImage]:
    """List the images of the source in a stable order, at most `per_class` of each class and split."""
    if data.source == "elpv":
        images = list(elpv())
    elif data.source == "oxford_pets":
        images = oxford_pets(downloads)
    else:
        images = folder(Path(data.path))
    return limit(images, data.per_class, data.seed)


def class_names(images: list[SourceImage]) -> list[str]:
    """Return the classes in the order of their numbers, from 0: natural order, but functional before defective."""
    names = {image.label for image in images}
    return ["functional", "defective"] if names == {"functional", "defective"} else sorted(names, key=natural)


def limit(images: list[SourceImage], per_class: int | None, seed: int) -> list[SourceImage]:
    """Draw `per_class` images of each class and split by `seed`; the order stays.

    Each image's place in the draw follows from its own name: with more images or a larger `per_class`, those drawn
    before are mostly drawn again.
    """
    if per_class is None:
        return images
    places = [hashlib.sha256(f"{seed}/{image.target}".encode(errors="surrogateescape")).digest() for image in images]
    taken: Counter[tuple[str, str]] = Counter()
    kept = []
    for row in sorted(range(len(images)), key=places.__getitem__):
        key = (images[row].label, images[row].split)
        if taken[key] < per_class:
            taken[key] += 1
            kept.append(row)
    return [images[row] for row in sorted(kept)]


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
    """List every file below the class folders of `root`, or of its train/ and test/ (val/ optional; in any case).

    Whether a file is an image is not judged here. Hidden files, what systems leave behind (LITTER), and folders
    without a file are left out, and said on stderr.
    """
    if not root.is_dir():
        raise InputError(f"data.path: no folder {root}; set it to a folder with one folder per class")
    left: Counter[str] = Counter()
    folders = _folders(root, left)
    parts = _parts(root, [entry.name for entry in folders])
    if parts:
        images = [
            image for part, name in parts.items() for image in _class_folders(_folders(root / name, left), part, left)
        ]
        _check_splits(images, parts, root)
    else:
        images = list(_class_folders(folders, "", left))
    if left:
        found = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(left.items()))
        print(f"data.path: left out of {root}: {found}", file=sys.stderr)
    labels = {image.label for image in images}
    if len(labels) < 2:
        found = f"only class {labels.pop()}" if labels else "no class folder with images"
        raise InputError(f"data.path: {root} has {found}; two classes at least are needed, a folder each")
    return images


def _parts(root: Path, names: list[str]) -> dict[str, str]:
    """Return the folders' names of train, val and test; {} where `names` are classes (which may be called train)."""
    meant: dict[str, list[str]] = {}
    for name in names:
        meant.setdefault(OTHER_NAMES.get(name.lower(), name.lower()), []).append(name)
    parts = {part: meant[part] for part in SPLITS if part in meant}
    if not parts or (len(parts) < 2 and len(names) > 1):
        return {}
    for part, found in parts.items():
        if len(found) > 1:
            raise InputError(f"data.path: {root} has {' and '.join(found)}, which mean the same; make them one, {part}")
        if found[0].lower() != part:
            raise InputError(f"data.path: {root / found[0]}: rename it to {part}")
    if missing := [part for part in ("train", "test") if part not in parts]:
        raise InputError(
            f"data.path: {root} has {', '.join(found for (found,) in parts.values())} without {' and '.join(missing)}; "
            f"add {missing[0]}/ with the same class folders, or put the class folders directly into {root}, "
            f"which are then divided by the settings under split"
        )
    extra = sorted(set(names) - {found for (found,) in parts.values()})
    if extra:
        raise InputError(f"data.path: {root} has {', '.join(extra)} beside train/ and test/; remove or move it")
    return {part: found for part, (found,) in parts.items()}


def _litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _folders(root: Path, left: Counter[str]) -> list[Path]:
    """Return the folders in `root` in natural order; counts in `left` what is left out."""
    folders = []
    for entry in sorted(root.iterdir(), key=lambda entry: natural(entry.name)):
        if _litter(entry.name):
            left[entry.name] += 1
        elif entry.is_dir():
            folders.append(entry)
        elif entry.suffix.lower() in PICTURES:
            left["images outside of class folders"] += 1
    return folders


def _class_folders(folders: list[Path], split: str, left: Counter[str]) -> Iterator[SourceImage]:
    for class_folder in folders:
        paths = sorted(_files(class_folder, left))
        if not paths:
            left[f"{Path(split, class_folder.name)}, which is empty"] += 1
        for path in paths:
            name = path.relative_to(class_folder).as_posix()
            yield SourceImage(path, class_folder.name, split=split, name=name)


def _files(class_folder: Path, left: Counter[str]) -> Iterator[Path]:
    """Yield every file but litter; links are followed for files, never for folders."""
    for folder_name, folders, names in os.walk(class_folder, followlinks=False):
        left.update(name for name in [*folders, *names] if _litter(name))
        folders[:] = [name for name in folders if not _litter(name)]
        yield from (Path(folder_name, name) for name in names if not _litter(name))


def _check_splits(images: list[SourceImage], parts: dict[str, str], root: Path) -> None:
    labels = {image.label for image in images}
    for part, name in parts.items():
        missing = labels - {image.label for image in images if image.split == part}
        if missing:
            raise InputError(f"data.path: {root / name} has no images of class {', '.join(sorted(missing))}")
