"""How time and memory of each stage grow with the number of images.

    python benchmarks/scale.py --write docs/benchmarks.md      # 2,000, 8,000 and 32,000 images; some 20 minutes
    python benchmarks/scale.py --images 500 --images 2000      # to see that it works

Pictures of 96 px with a disc or a square somewhere are written as JPEG and go through fetch, split, extract, train (two
epochs) and evaluate of the default settings at 96 px, each stage a process of its own in a folder of its own. `seconds`
are the wall clock's, start of the process included, which helps the ratio of many images to few. `MiB`: the largest
anonymous memory of the stage's processes together, read from /proc every 0.2 s, pages that they share counted once.

`ratio` is that of the seconds an image to those with the fewest images: at most 1.15 should it be, and at most 300 MiB
more the memory. The exit status is 1 where that does not hold.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("fetch", "split", "extract", "train", "evaluate")
PIXELS = 96
SHAPE = 40  # pixels of a disc or a square
EVERY = 0.2  # seconds
MOST_RATIO = 1.15
MOST_MIB = 300.0
MARKS = ("<!-- scale -->", "<!-- end -->")
COLUMNS = ("stage", "images", "seconds", "seconds per 1000", "ratio", "MiB", "MiB more")


@dataclass(frozen=True)
class Row:
    """A stage with so many images. `mib`: the peak of anonymous memory."""

    stage: str
    images: int
    seconds: float
    mib: float

    @property
    def each(self) -> float:
        """Return the seconds per 1000 images."""
        return 1000 * self.seconds / self.images


def write_pictures(folder: Path, count: int) -> None:
    """Write `count` pictures, half of each class; the first ones are the same whatever `count` is."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:SHAPE, :SHAPE]
    shapes = {
        "disc": (down - SHAPE / 2) ** 2 + (across - SHAPE / 2) ** 2 < (SHAPE / 2) ** 2,
        "square": np.ones((SHAPE, SHAPE), bool),
    }
    for name in shapes:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        name = ("disc", "square")[number % 2]
        pixels = rng.integers(60, 120, (PIXELS, PIXELS, 3), dtype=np.uint8)
        row, column = rng.integers(0, PIXELS - SHAPE, 2)
        pixels[row : row + SHAPE, column : column + SHAPE][shapes[name]] += 110
        Image.fromarray(pixels).save(folder / name / f"{number:06}.jpg", quality=90)


def write_settings(folder: Path, workers: int) -> None:
    """Write the project's settings, but for what this is about, and the file by which a folder is a project."""
    yaml = YAML()
    settings = yaml.load(PROJECT / "params.yaml")
    settings["data"] |= {"source": "folder", "path": "pictures", "masks": str(PROJECT / settings["data"]["masks"])}
    settings["model"] |= {"image_size": PIXELS, "code": str(PROJECT / settings["model"]["code"])}
    settings["train"]["epochs"] = 2
    settings["loader"]["workers"] = workers
    yaml.dump(settings, folder / "params.yaml")
    (folder / "dvc.yaml").touch()


def family(process: int) -> list[int]:
    """Return the numbers of a process and of all that it started."""
    found = [process]
    for number in found:
        try:
            for children in Path(f"/proc/{number}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        except OSError:
            continue
    return found


def anonymous(process: int) -> float:
    """Return a process's anonymous memory in MiB, pages that several share in equal parts; 0 where it has ended."""
    try:
        found = re.search(r"Pss_Anon:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def measure(stage: str, folder: Path, images: int) -> Row:
    """Run a stage and return what it took."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    with (folder / f"{stage}.log").open("w+") as log:
        started = time.perf_counter()
        command = [Path(sys.executable).with_name("layershap"), stage]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(anonymous(number) for number in family(process.pid)))
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - started
        if process.returncode:
            log.seek(0)
            raise click.ClickException(f"{stage} of {images} images: {log.read()[-2000:]}")
    return Row(stage, images, seconds, peak)


def cells(row: Row, least: Row) -> list[str]:
    """Return what stands in a row of the table; `least`: the same stage with the fewest images."""
    return [
        row.stage,
        f"{row.images:,}",
        f"{row.seconds:.1f}",
        f"{row.each:.2f}",
        f"{row.each / least.each:.2f}",
        f"{row.mib:.0f}",
        f"{row.mib - least.mib:+.0f}",
    ]


def failures(rows: Sequence[Row], least: dict[str, Row]) -> list[str]:
    """Return what grows more than it should."""
    found = []
    for row in rows:
        ratio, more = row.each / least[row.stage].each, row.mib - least[row.stage].mib
        if ratio > MOST_RATIO:
            found.append(f"{row.stage} takes {ratio:.2f} times as long an image with {row.images:,} images")
        if more > MOST_MIB:
            found.append(f"{row.stage} takes {more:.0f} MiB more with {row.images:,} images")
    return found


def page(lines: list[list[str]], images: Sequence[int], workers: int, found: list[str]) -> str:
    """Return the section of the page, in Markdown."""
    kinds = ["---", *["--:"] * (len(COLUMNS) - 1)]
    table = ["| " + " | ".join(line) + " |" for line in [list(COLUMNS), kinds, *lines]]
    outcome = "; ".join(found) if found else f"No ratio is above {MOST_RATIO}, and no memory {MOST_MIB:.0f} MiB more"
    counts = ", ".join(f"{count:,}" for count in images)
    return (
        f"The default settings at {PIXELS} px, two epochs, {counts} made pictures; {os.cpu_count()} cores, "
        f"{workers} workers (`loader.workers`). {outcome}. Written by `python benchmarks/scale.py --write "
        f"docs/benchmarks.md`; its docstring says what the columns are.\n\n" + "\n".join(table)
    )


def replace_section(file: Path, section: str) -> None:
    """Put the section between the marks of a page."""
    text = file.read_text(encoding="utf-8")
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise click.ClickException(f"{file} has no section between {MARKS[0]} and {MARKS[1]}")
    file.write_text(f"{before}{begin}\n{section}\n{end}{after}", encoding="utf-8")


@click.command()
@click.option("--images", multiple=True, type=click.IntRange(min=100), default=(2000, 8000, 32000), show_default=True)
@click.option("--workers", default=0, show_default=True, help="loader.workers: processes that read images.")
@click.option("--write", type=click.Path(path_type=Path, dir_okay=False), help="Replace the section of this page.")
def main(images: tuple[int, ...], workers: int, write: Path | None) -> None:
    """Measure every stage with each number of images."""
    rows, least, lines = [], {}, []
    for count in sorted(images):
        folder = Path(tempfile.mkdtemp(prefix="layershap-scale-"))
        try:
            write_pictures(folder / "pictures", count)
            write_settings(folder, workers)
            for stage in STAGES:
                row = measure(stage, folder, count)
                rows.append(row)
                lines.append(cells(row, least.setdefault(stage, row)))
                click.echo("  ".join(lines[-1]), err=True)
        finally:
            shutil.rmtree(folder)
    order = sorted(range(len(rows)), key=lambda place: STAGES.index(rows[place].stage))
    table = Table(title=f"{PIXELS} px, {workers} workers")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "stage" else "right")
    for place in order:
        table.add_row(*lines[place])
    Console(width=100).print(table)
    found = failures(rows, least)
    if write:
        replace_section(write, page([lines[place] for place in order], sorted(images), workers, found))
    if found:
        raise click.ClickException("; ".join(found))


if __name__ == "__main__":
    main()
