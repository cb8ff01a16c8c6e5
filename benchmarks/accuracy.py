"""Test accuracy of a setting over several seeds (of split and training), through the project's own stages.

    python benchmarks/accuracy.py --seeds 5
    python benchmarks/accuracy.py --seeds 5 --set model.image_size=300 --set model.unfreeze=4

Prints a row per seed and the mean. Data and features are made once; the project's own outs are not touched.
"""

import os
import shutil
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parents[1]
IN_PROJECT = ("data.path", "model.code")  # paths in the project, which the stages read from another folder here


def write_params(changes: dict[str, object]) -> None:
    """Write params.yaml of the project with `changes` (dotted keys) to the present folder."""
    yaml = YAML()
    content = yaml.load(PROJECT / "params.yaml")
    for key, value in changes.items():
        section, name = key.split(".")
        if name not in content[section]:
            raise click.BadParameter(f"no setting {key} in params.yaml")
        content[section][name] = value
    yaml.dump(content, Path("params.yaml"))


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Seeds 0, 1, ... of split and training.")
@click.option("--set", "settings", multiple=True, help="A setting, as section.key=value.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this folder and keep it (default: a new one).")
def main(seeds: int, settings: tuple[str, ...], keep: Path | None) -> None:
    """Measure the test accuracy of a setting."""
    yaml = YAML(typ="safe")
    changes: dict[str, object] = {
        key: yaml.load(value) for key, _, value in (setting.partition("=") for setting in settings)
    }
    folder = keep or Path(tempfile.mkdtemp(prefix="layershap-accuracy-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    os.environ.pop("DVC_ROOT", None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    project = yaml.load(PROJECT / "params.yaml")
    for key in IN_PROJECT:
        section, name = key.split(".")
        changes.setdefault(key, str(PROJECT / project[section][name]))
    try:
        with chdir(folder):
            measure(seeds, changes)
    finally:
        if keep is None:
            shutil.rmtree(folder)


def measure(seeds: int, changes: dict[str, object]) -> None:
    """Run the stages in the present folder and print the table."""
    from layershap.stages import evaluate, extract, fetch, split, train
    from layershap.workspace import paths
    from layershap.workspace.files import read_json

    write_params(changes)
    started = time.perf_counter()
    if not paths.FEATURES.exists():
        fetch.run()
        extract.run()
    preparation = time.perf_counter() - started
    table = Table(title=", ".join(f"{key} = {value}" for key, value in changes.items() if key not in IN_PROJECT))
    for name in ("seed", "accuracy", "95 % interval", "balanced", "ROC-AUC", "images", "epochs", "seconds"):
        table.add_column(name, justify="right")
    found = []
    for seed in range(seeds):
        write_params({**changes, "split.seed": seed, "train.seed": seed})
        started = time.perf_counter()
        for stage in (split, train, evaluate):
            stage.run()
        numbers, trained = read_json(paths.EVALUATE_METRICS), read_json(paths.TRAIN_METRICS)
        found.append(numbers["accuracy"])
        table.add_row(
            str(seed),
            f"{numbers['accuracy']:.4f}",
            f"{numbers['accuracy_low']:.4f} .. {numbers['accuracy_high']:.4f}",
            f"{numbers['balanced_accuracy']:.4f}",
            f"{numbers['roc_auc']:.4f}",
            str(numbers["n_test"]),
            f"{trained['best_epoch']} of {trained['epochs']}",
            f"{time.perf_counter() - started:.0f}",
        )
    table.caption = (
        f"mean accuracy {sum(found) / len(found):.4f}; fetch and extract took {preparation:.0f} s; "
        f"seconds: split, train and evaluate"
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
