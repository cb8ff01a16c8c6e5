"""Trials of a space by Optuna, kept in its SQLite storage, so that a search that was ended goes on."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from layershap.choosing.spaces import Range, Space
from layershap.workspace.errors import InputError, UserError

if TYPE_CHECKING:
    import optuna

STARTING, WARMING = 5, 3  # trials before there is a median worth asking; the first epoch at which it is asked

Watch = Callable[[int, dict[str, float]], None]
Train = Callable[[dict[str, Any], Watch], float]


class PrunedError(Exception):
    """A training that is ended because its validation loss is worse than most at this epoch."""


def optuna_module() -> Any:
    """Return Optuna, or say how it is installed where it is not."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise InputError("a search needs Optuna: pip install 'optuna>=4', or with this package '.[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Search:
    """The trials of one space under one set of other settings, images and code, which `name` stands for."""

    def __init__(self, storage: Path, name: str, space: Space, seed: int):
        """`seed`: of what is drawn; after an interruption other numbers come than those that came before it."""
        self.optuna = optuna_module()
        self.space = space
        storage.parent.mkdir(parents=True, exist_ok=True)
        self.study = self.optuna.create_study(
            storage=f"sqlite:///{storage.resolve()}",
            study_name=name,
            direction="minimize",
            load_if_exists=True,
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=STARTING, n_warmup_steps=WARMING),
        )
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
        for trial in self.study.get_trials(states=(self.optuna.trial.TrialState.RUNNING,)):
            self._put_back(trial.number)  # its process was killed

    def begin_with(self, settings: Mapping[str, Any]) -> None:
        """Try these settings first, if they lie in the space and nothing was tried yet."""
        if not self.study.trials and self.space.holds(settings):
            self.study.enqueue_trial(self._stored(settings))

    def finished(self) -> list["optuna.trial.FrozenTrial"]:
        """Return the trials that have an outcome: trained to their end, or pruned."""
        states = self.optuna.trial.TrialState
        return list(self.study.get_trials(states=(states.COMPLETE, states.PRUNED)))

    def best(self) -> "optuna.trial.FrozenTrial | None":
        """Return the trial with the least validation loss; None where none was trained to its end."""
        complete = [trial for trial in self.finished() if trial.value is not None and not self.pruned(trial)]
        return min(complete, key=lambda trial: trial.value or 0.0, default=None)

    def pruned(self, trial: "optuna.trial.FrozenTrial") -> bool:
        """Return whether the trial was pruned."""
        return bool(trial.state == self.optuna.trial.TrialState.PRUNED)

    def settings(self, trial: "optuna.trial.FrozenTrial") -> dict[str, Any]:
        """Return the settings of a trial by dotted name."""
        return {
            name: trial.params[name] if isinstance(choice, Range) else json.loads(trial.params[name])
            for name, choice in self.space.settings.items()
        }

    def try_one(self, train: Train) -> "optuna.trial.FrozenTrial":
        """Draw settings, `train` with them and keep the loss; return the trial.

        What cannot be trained (a UserError) is a failed trial, which is said; one that is interrupted is put back, to
        be the next. The same settings again are not trained again.
        """
        states = self.optuna.trial.TrialState
        trial = self.study.ask()
        number = trial.number
        try:
            settings = self._drawn(trial)

            def watch(epoch: int, metrics: dict[str, float]) -> None:
                loss = metrics["val_loss"]
                if not math.isfinite(loss):
                    raise PrunedError
                trial.report(loss, epoch)
                if trial.should_prune():
                    raise PrunedError

            same = [past for past in self.finished() if past.params == trial.params]
            if same and self.pruned(same[0]):
                raise PrunedError
            self.study.tell(number, float(same[0].value or 0.0) if same else train(settings, watch))
        except PrunedError:
            self.study.tell(number, state=states.PRUNED)
        except UserError:
            self.study.tell(number, state=states.FAIL)
            raise
        except BaseException:
            self._put_back(number)
            raise
        return self.study.trials[number]

    def _put_back(self, number: int) -> None:
        trial = self.study.trials[number]
        self.study.tell(number, state=self.optuna.trial.TrialState.FAIL)
        if params := trial.params or trial.system_attrs.get("fixed_params"):
            self.study.enqueue_trial(params)

    def _drawn(self, trial: "optuna.Trial") -> dict[str, Any]:
        for name, choice in self.space.settings.items():
            if not isinstance(choice, Range):
                trial.suggest_categorical(name, [json.dumps(value) for value in choice])
            elif choice.whole:
                trial.suggest_int(name, int(choice.low), int(choice.high), step=int(choice.step or 1), log=choice.log)
            else:
                trial.suggest_float(name, choice.low, choice.high, step=choice.step, log=choice.log)
        return self.settings(self.study.trials[trial.number])

    def _stored(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as Optuna keeps them: a chosen one as text, for it may be a list."""
        return {
            name: settings[name] if isinstance(choice, Range) else json.dumps(settings[name])
            for name, choice in self.space.settings.items()
        }


def as_table(search: Search) -> Table:
    """Return what the terminal shows: the trials with an outcome, the best first, pruned ones last."""
    table = Table()
    for name in ("trial", *search.space.settings, "validation loss", "epochs"):
        table.add_column(name, justify="right")
    trials = sorted(search.finished(), key=lambda trial: (search.pruned(trial), trial.value or 0.0, trial.number))
    for trial in trials:
        values = (shown(value) for value in search.settings(trial).values())
        loss = "pruned" if search.pruned(trial) else f"{trial.value:.4g}"
        table.add_row(str(trial.number), *values, loss, str(trial.last_step or ""))
    return table


def shown(value: Any) -> str:
    """Return a value as the table has it."""
    return f"{value:.4g}" if isinstance(value, float) else written(value)


def written(value: Any) -> str:
    """Return a value as it is written after -S."""
    return value if isinstance(value, str) else json.dumps(value)
