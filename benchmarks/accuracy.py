"""Accuracy of settings over several seeds (of split and training), through the project's own stages.

    python benchmarks/accuracy.py --seeds 5
    python benchmarks/accuracy.py --seeds 5 --set model.image_size=300 --set model.unfreeze=4
    python benchmarks/accuracy.py --recipe all --keep work/accuracy --choose
    python benchmarks/accuracy.py --recipe all --keep work/accuracy --write docs/results.md

`--recipe`: named changes of benchmarks/recipes.yaml, each compared with the first one, seed by seed. `--choose`: the
validation images are judged in the place of the test images, which are not looked at: settings are chosen by that, and
the test images then say once what the choice is worth. `--keep`: what is measured, and features, stay in this folder;
the same command goes on there after an interruption. The project's own outs are not touched.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from scipy.stats import sem, t

from layershap.choosing.spaces import with_settings
from layershap.data.tables import read_table, write_table
from layershap.judging.intervals import t_interval
from layershap.progress import progress_bar
from layershap.stages import evaluate, extract, fetch, split, train
from layershap.workspace import paths
from layershap.workspace.elsewhere import elsewhere, settings_elsewhere
from layershap.workspace.errors import UserError
from layershap.workspace.files import read_json, remove
from layershap.workspace.fingerprint import fingerprint
from layershap.workspace.params import check_params, dotted, load_params

PROJECT = Path(__file__).resolve().parents[1]
ROOMS = ("chain", "data", "hardware", "judging", "model", "training", "stages")
FETCHED = (paths.RAW, paths.IMAGES_TABLE, paths.REFUSED_TABLE)
MADE_FROM = ("augment", "extract", "model", "trainer")  # sections that features depend on
OURS = "the project's settings"


@dataclass(frozen=True)
class Measured:
    """A recipe with a seed. `seconds`: of split, train and evaluate; `images`: those that were judged."""

    key: str
    recipe: str
    seed: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    roc_auc: float
    images: int
    val_loss: float
    best_epoch: int
    epochs: int
    seconds: float


class Bench:
    """Trainings in `folder`; what was measured there before is not measured again."""

    def __init__(self, folder: Path, choose: bool):
        self.folder = folder.resolve()
        self.choose = choose
        self.rows = self.folder / "measured.jsonl"

    def known(self) -> dict[str, Measured]:
        """Return what was measured, by key."""
        lines = self.rows.read_text(encoding="utf-8").splitlines() if self.rows.exists() else []
        return {row.key: row for row in (Measured(**json.loads(line)) for line in lines)}

    def measure(self, recipe: str, content: dict[str, Any], seed: int) -> Measured:
        """Train with the plain settings `content` and this seed, and judge the model."""
        content = with_settings(content, {"split.seed": seed, "train.seed": seed})
        check_params(content, recipe)
        key = fingerprint({"settings": content, "choose": self.choose}, [], ROOMS)
        if key in (known := self.known()):
            return known[key]
        place, links = self.folder / f"running_{key}", self._made(content)
        started = time.perf_counter()
        with elsewhere(place, content, links), redirect_stdout(StringIO()):
            for stage in (split, train):
                stage.run()
            if self.choose:
                judge_validation_images()
            evaluate.run()
            numbers, trained = read_json(paths.EVALUATE_METRICS), read_json(paths.TRAIN_METRICS)
        names = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "roc_auc")
        found = Measured(
            key=key,
            recipe=recipe,
            seed=seed,
            **{name: numbers[name] for name in names},
            images=numbers["n_test"],
            **{name: trained[name] for name in ("val_loss", "best_epoch", "epochs")},
            seconds=round(time.perf_counter() - started, 1),
        )
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        remove(place)
        return found

    def _made(self, content: dict[str, Any]) -> dict[Path, Path]:
        """Return the links to images and features, made where they are not there."""
        fetched = self.folder / f"images_{fingerprint(content['data'], [], ['data', 'stages/fetch.py'])}"
        if not (fetched / paths.REFUSED_TABLE).exists():
            with elsewhere(fetched, content, {}), redirect_stdout(StringIO()):
                fetch.run()
        links = {name: fetched / name for name in FETCHED}
        made = {name: content[name] for name in ("data", *MADE_FROM)}
        features = self.folder / f"features_{fingerprint(made, [], ['chain', 'data', 'model', 'stages/extract.py'])}"
        if not (features / paths.FEATURES).exists():
            with elsewhere(features, content, links), redirect_stdout(StringIO()):
                extract.run()
        return {**links, paths.FEATURES: features / paths.FEATURES}


def measured(bench: Bench, contents: Mapping[str, dict[str, Any]], seeds: int) -> dict[str, list[Measured]]:
    """Return what each recipe reaches with each seed."""
    rows: dict[str, list[Measured]] = {name: [] for name in contents}
    with progress_bar(total=len(contents) * seeds, desc="accuracy", unit="training") as progress:
        for name, content in contents.items():
            for seed in range(seeds):
                rows[name].append(bench.measure(name, content, seed))
                progress.write(f"{name}, seed {seed}: {rows[name][-1].accuracy:.4f}", file=sys.stderr)
                progress.update()
    return rows


def judge_validation_images() -> None:
    """Let evaluate, after training, take the validation images for the test images."""
    table = read_table(paths.SPLIT_TABLE)
    table["split"] = table["split"].map({"train": "train", "test": "train", "val": "test"})
    write_table(paths.SPLIT_TABLE, table)


def interval(values: Sequence[float]) -> str:
    """Return the 95 % t interval of the mean of differences; of one value there is none."""
    if len(values) < 2:
        return ""
    half = float(t.ppf(0.975, len(values) - 1) * sem(values))
    return f"{np.mean(values) - half:+.4f} to {np.mean(values) + half:+.4f}"


def summary(rows: Mapping[str, Sequence[Measured]]) -> list[tuple[str, ...]]:
    """Return the table's lines, its head first: a line for each recipe, compared with the first one seed by seed."""
    head = ("recipe", "accuracy of each seed", "mean", "95 % interval", "more than the first", "95 % interval",
            "balanced", "validation loss", "seconds a seed")  # fmt: skip
    first = next(iter(rows.values()))
    lines: list[tuple[str, ...]] = [head]
    for name, found in rows.items():
        accuracy = [row.accuracy for row in found]
        low, high = t_interval(accuracy) if len(found) > 1 else (found[0].accuracy_low, found[0].accuracy_high)
        more = [row.accuracy - other.accuracy for row, other in zip(found, first, strict=True)]
        compared = ("", "") if found is first else (f"{np.mean(more):+.4f}", interval(more))
        means = [np.mean([getattr(row, key) for row in found]) for key in ("balanced_accuracy", "val_loss", "seconds")]
        lines.append(
            (
                name,
                " ".join(f"{value:.4f}" for value in accuracy),
                f"{np.mean(accuracy):.4f}",
                f"{low:.4f} to {high:.4f}",
                *compared,
                f"{means[0]:.4f}",
                f"{means[1]:.4f}",
                f"{means[2]:.0f}",
            )
        )
    return lines


def seeds_table(found: Sequence[Measured]) -> Table:
    """Return what the terminal shows of one setting: a row for each seed."""
    table = Table()
    for name in ("seed", "accuracy", "95 % interval", "balanced", "ROC-AUC", "images", "epochs", "seconds"):
        table.add_column(name, justify="right")
    for row in found:
        table.add_row(
            str(row.seed),
            f"{row.accuracy:.4f}",
            f"{row.accuracy_low:.4f} to {row.accuracy_high:.4f}",
            f"{row.balanced_accuracy:.4f}",
            f"{row.roc_auc:.4f}",
            str(row.images),
            f"{row.best_epoch} of {row.epochs}",
            f"{row.seconds:.0f}",
        )
    table.caption = f"mean accuracy {np.mean([row.accuracy for row in found]):.4f}; seconds: split, train and evaluate"
    return table


def recipes_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the changes of each recipe that is named, `all` for every one; without a name, none are made."""
    known = YAML(typ="safe").load(PROJECT / "benchmarks" / "recipes.yaml")
    if not names:
        return {OURS: {}}
    if unknown := set(names) - set(known) - {"all"}:
        raise click.BadParameter(f"no recipe {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return {name: changes for name, changes in known.items() if name in names or "all" in names}


def changes_of(settings: Sequence[str]) -> dict[str, Any]:
    """Return the changes that --set names, by dotted name."""
    known = dotted(load_params().model_dump())
    found = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            raise click.BadParameter(f"no setting {name} in params.yaml")
        found[name] = YAML(typ="safe").load(value)
    return found


def write_between(page: Path, mark: str, lines: Sequence[tuple[str, ...]]) -> None:
    """Put the lines as a table between <!-- mark --> and <!-- end --> of a page."""
    text = page.read_text(encoding="utf-8")
    start = f"<!-- {mark} -->\n"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition("<!-- end -->")
    if not found or not closed:
        raise click.BadParameter(f"{page} has no lines '{start.strip()}' and '<!-- end -->' to write between")
    rows = [f"| {' | '.join(line)} |" for line in lines]
    rows.insert(1, "|---|---|" + "--:|" * (len(lines[0]) - 2))
    page.write_text(f"{before}{start}\n" + "\n".join(rows) + f"\n\n{closed}{after}", encoding="utf-8")


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Seeds 0, 1, ... of split and training.")
@click.option("--set", "settings", multiple=True, help="A setting, as section.key=value.")
@click.option("--recipe", "names", multiple=True, help="A recipe of benchmarks/recipes.yaml; all: every one.")
@click.option("--choose", is_flag=True, help="Judge the validation images instead of the test images.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this folder and keep it (default: a new one).")
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Put the table into this page.")
def main(
    seeds: int, settings: tuple[str, ...], names: tuple[str, ...], choose: bool, keep: Path | None, page: Path | None
) -> None:
    """Measure the accuracy of settings."""
    try:
        plain = with_settings(load_params().model_dump(), changes_of(settings))
        contents = {
            name: settings_elsewhere(check_params(with_settings(plain, changes), name))
            for name, changes in recipes_of(names).items()
        }
        with tempfile.TemporaryDirectory(prefix="layershap-accuracy-") as made:
            rows = measured(Bench(keep or Path(made), choose), contents, seeds)
    except UserError as error:
        raise click.ClickException(str(error)) from None
    images = "validation" if choose else "test"
    console = Console(width=200)
    if not names:
        print(f"{images} images, {', '.join(settings) or OURS}")
        console.print(seeds_table(rows[OURS]))
        return
    lines = summary(rows)
    table = Table(*lines[0], title=f"{images} images, {', '.join(settings) or OURS}")
    for line in lines[1:]:
        table.add_row(*line)
    console.print(table)
    if page:
        write_between(page, f"recipes {plain['data']['source']} {images}", lines)


if __name__ == "__main__":
    main()
