"""The work on one image as a folder that is there wholly or not at all, so that an interrupted stage goes on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest, replacing

NUMBERS, ARRAYS, PICTURES = "numbers.json", "arrays.npz", "pictures"


@dataclass(frozen=True)
class Parts:
    """The parts of `count` images in `folder`, which is for these images, settings and model alone (fingerprint.py).

    Each is a folder named by the image's index: arrays.npz, pictures/ as they stand in explanations/, and numbers.json
    with the rows of the table of layers and the digest of every other file.
    """

    folder: Path
    count: int

    def place(self, index: int) -> Path:
        """Return the folder of a part."""
        return self.folder / f"{index:06d}"

    def write(
        self,
        index: int,
        rows: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, np.ndarray],
        draw: Callable[[Path], None] | None = None,
    ) -> None:
        """Write a part. `rows`: numbers by layer. `arrays`: by name. `draw`: writes the pictures into a folder."""
        with replacing(self.place(index)) as partial:
            partial.mkdir()
            np.savez(partial / ARRAYS, **arrays)  # type: ignore[arg-type]
            if draw is not None:
                draw(partial / PICTURES)
            content = {"rows": list(rows), "files": _digests(partial)}
            (partial / NUMBERS).write_text(json.dumps(content), encoding="utf-8")  # NaN is written, and read back

    def there(self, index: int) -> bool:
        """Return whether a part is there and each of its files is as it was written."""
        place = self.place(index)
        try:
            written = json.loads((place / NUMBERS).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return bool(written == _digests(place))

    def check(self) -> None:
        """Raise InputError unless the part of each index is there."""
        missing = [index for index in range(self.count) if not self.place(index).is_dir()]
        if missing:
            first = self.place(missing[0])
            raise InputError(
                f"{len(missing)} of {self.count} explained images have no part (the first is {first}); "
                f"run 'dvc repro explain' again"
            )

    def rows(self, index: int) -> list[dict[str, Any]]:
        """Return the numbers of a part by layer."""
        content = json.loads((self.place(index) / NUMBERS).read_text(encoding="utf-8"))
        return list(content["rows"])

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Return the arrays of a part by name."""
        with np.load(self.place(index) / ARRAYS) as found:
            return dict(found)

    def pictures(self, index: int) -> Path | None:
        """Return the folder of the part's pictures, or None where it has none."""
        place = self.place(index) / PICTURES
        return place if place.is_dir() else None


def _digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file below `folder` but the one that holds them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NUMBERS)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
