"""Real Optuna and its real SQLite storage, with a function in the place of a training."""

import pytest

from layershap.choosing.search import Search, as_table, written
from layershap.choosing.spaces import Range, Space
from layershap.workspace.errors import SettingsError

pytest.importorskip("optuna")

SPACE = Space("one", {"head.hidden": [[], [8]], "head.dropout": Range(**{"from": 0.0, "to": 0.9})})
PRESENT = {"head.hidden": [8], "head.dropout": 0.5}


@pytest.fixture
def search(tmp_path):
    return Search(tmp_path / "work" / "trials.db", "one", SPACE, 0)


def again(tmp_path, space=SPACE):
    return Search(tmp_path / "work" / "trials.db", "one", space, 0)


def training(offset=0.0, epochs=6):
    def train(settings, watch):
        loss = settings["head.dropout"] + offset
        for epoch in range(1, epochs + 1):
            watch(epoch, {"val_loss": loss})
        return loss

    return train


def test_present_settings_come_first_and_the_least_loss_is_the_best(search):
    search.begin_with(PRESENT)
    found = [search.try_one(training()) for _ in range(8)]
    assert search.settings(found[0]) == PRESENT
    losses = [trial.value for trial in found if not search.pruned(trial)]
    assert search.best().value == min(losses)
    assert as_table(search).row_count == 8


def test_a_worse_one_than_most_is_pruned_at_the_third_epoch(search):
    for _ in range(5):
        assert not search.pruned(search.try_one(training()))
    seen = []

    def train(settings, watch):
        for epoch in range(1, 7):
            seen.append(epoch)
            watch(epoch, {"val_loss": 99.0})
        raise AssertionError("it was to be ended")

    assert search.pruned(search.try_one(train))
    assert seen == [1, 2, 3]
    assert search.best().value < 1


def test_a_loss_that_is_no_number_ends_a_training_at_once(search):
    found = search.try_one(training(float("nan")))
    assert search.pruned(found)
    assert search.best() is None


def test_one_that_is_interrupted_is_the_next(search, tmp_path):
    search.begin_with(PRESENT)

    def interrupted(settings, watch):
        watch(1, {"val_loss": 1.0})
        raise SystemExit(130)

    with pytest.raises(SystemExit):
        search.try_one(interrupted)
    assert search.finished() == []
    assert again(tmp_path).settings(again(tmp_path).try_one(training())) == PRESENT


def test_one_whose_process_was_killed_is_the_next(search, tmp_path):
    search.begin_with(PRESENT)
    search._drawn(search.study.ask())  # as far as a killed process comes
    later = again(tmp_path)
    assert later.settings(later.try_one(training())) == PRESENT
    assert len(later.finished()) == 1


def test_what_cannot_be_trained_is_no_outcome(search):
    def refused(settings, watch):
        raise SettingsError("they do not go together")

    with pytest.raises(SettingsError):
        search.try_one(refused)
    assert search.finished() == []
    search.try_one(training())
    assert len(search.finished()) == 1


def test_the_same_settings_are_not_trained_twice(tmp_path):
    search = again(tmp_path, Space("one", {"head.hidden": [[8]]}))
    first = search.try_one(lambda settings, watch: 0.25)
    assert search.try_one(lambda settings, watch: pytest.fail("trained again")).value == first.value == 0.25


def test_later_draws_are_not_those_of_before(search, tmp_path):
    found = [search.try_one(training()) for _ in range(2)]
    found += [again(tmp_path).try_one(training()) for _ in range(2)]
    assert len({trial.params["head.dropout"] for trial in found}) == 4


@pytest.mark.parametrize(("value", "text"), [([8, 4], "[8, 4]"), (1e-5, "1e-05"), (None, "null"), ("a", "a")])
def test_values_as_dvc_takes_them(value, text):
    assert written(value) == text
