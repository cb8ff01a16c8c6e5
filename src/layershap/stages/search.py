"""A search over a space of settings by validation loss; the test images are not there where it trains."""

import shlex
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from layershap.choosing.search import PrunedError, Search, Watch, as_table, optuna_module, written
from layershap.choosing.spaces import Space, read_space, values_of, with_settings
from layershap.data.tables import read_table, write_table
from layershap.judging.folds import deciding
from layershap.progress import progress_bar
from layershap.stages import extract, train
from layershap.tracking.record import record_trial
from layershap.workspace import paths
from layershap.workspace.elsewhere import elsewhere, settings_elsewhere
from layershap.workspace.errors import UserError
from layershap.workspace.files import read_json, remove
from layershap.workspace.fingerprint import code_files, fingerprint
from layershap.workspace.params import Params, check_params, load_params

ROOMS = ("chain", "data", "hardware", "model", "stages/extract.py", "stages/train.py", "training")


def checked(name: str) -> Space:
    """Return the space of this name, before any work; SettingsError or InputError says what is missing or wrong."""
    space = read_space(paths.SEARCH_SPACES, name, load_params())
    optuna_module()
    return space


def run(name: str, wanted: int) -> None:
    """Try settings of a space until `wanted` trials have an outcome, and say which were best."""
    space, params = checked(name), load_params()
    others = {key: value for key, value in deciding(params).items() if key not in space.settings}
    tables = without_test_images()
    known = {"space": space.plain(), "others": others, "tables": [table.to_csv() for table in tables.values()]}
    key = f"search-{name}-{fingerprint(known, code_files(Path(params.model.code)), ROOMS)}"
    search = Search(paths.SEARCH_WORK / "trials.db", key, space, params.train.seed)
    search.begin_with(values_of(params, space))
    trainings = Trainings(params, paths.SEARCH_WORK / key, tables)
    done = len(search.finished())
    if done:
        print(f"{done} trials of this space are done already")
    with progress_bar(total=max(wanted, done), initial=done, desc=f"search {name}", unit="trial") as progress:
        for _ in range(wanted - done):
            try:
                trial = search.try_one(trainings.loss)
            except UserError as error:
                progress.write(f"cannot be trained: {error}", file=sys.stderr)
                continue
            except (KeyboardInterrupt, SystemExit):
                progress.write("interrupted; the same command goes on", file=sys.stderr)
                raise
            pruned = search.pruned(trial)
            progress.write(f"trial {trial.number}: {'pruned' if pruned else f'validation loss {trial.value:.4g}'}")
            best = search.best()
            numbers = {"trials": len(search.finished()), **({"val_loss": float(best.value or 0)} if best else {})}
            settings = with_settings(params.model_dump(), search.settings(trial))
            curve = {str(epoch): loss for epoch, loss in trial.intermediate_values.items()}
            record_trial(key, name, params, numbers, trial.number, settings, curve, trial.value, pruned)
            progress.update()
    remove(paths.SEARCH_WORK / key)
    tell(search)


def tell(search: Search) -> None:
    """Print the trials, and the best one's settings as options of `dvc exp run`."""
    Console(width=120).print(as_table(search))
    best = search.best()
    if best is None:
        print("no trial was trained to its end; ask for more (--trials), or change the space")
        return
    options = (f"-S {shlex.quote(f'{name}={written(value)}')}" for name, value in search.settings(best).items())
    print(f"best: trial {best.number}, validation loss {best.value:.4g}\ndvc exp run {' '.join(options)}")


class Trainings:
    """Trainings with some settings changed, in folders below `work` where the test images are not."""

    def __init__(self, params: Params, work: Path, tables: Mapping[Path, pd.DataFrame]):
        self.params = params
        self.work = work
        for name, table in tables.items():
            write_table(work / name.name, table)
        self.links = {paths.RAW: paths.RAW, **{name: work / name.name for name in tables}}

    def loss(self, settings: dict[str, Any], watch: Watch) -> float:
        """Train with these settings, by dotted name, and return the validation loss of the best epoch.

        A training that was interrupted goes on. SettingsError where they do not go together.
        """
        content = with_settings(settings_elsewhere(self.params), settings)
        check_params(content, "trial")
        place = self.work / f"trial_{fingerprint(settings, [], [])}"
        try:
            with redirect_stdout(StringIO()):  # the layers, of every training
                self._train(content, place, watch)
            found = float(read_json(place / paths.TRAIN_METRICS)["val_loss"])
        except (PrunedError, UserError):
            remove(place)
            raise
        remove(place)
        return found

    def _train(self, content: dict[str, Any], place: Path, watch: Watch) -> None:
        made = {name: content[name] for name in ("augment", "extract", "model", "trainer")}
        features = self.work / f"features_{fingerprint(made, [], [])}"
        if not features.exists():
            with elsewhere(place, content, self.links):
                extract.run()
            if (place / paths.FEATURES).exists():
                (place / paths.FEATURES).replace(features)
        cached = {paths.FEATURES: features} if features.exists() else {}
        with elsewhere(place, content, {**self.links, **cached}):
            train.run(watch)


def without_test_images() -> dict[Path, pd.DataFrame]:
    """Return the tables of images and of their splits, by name, without the test images."""
    split = read_table(paths.SPLIT_TABLE)
    seen = (split["split"] != "test").to_numpy()
    return {name: read_table(name)[seen] for name in (paths.IMAGES_TABLE, paths.SPLIT_TABLE)}
