import os

import pytest

from layershap.workspace.errors import BusyError
from layershap.workspace.lock import drop_broken_dvc_lock, only_one


def test_the_second_is_told_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        only_one("train"),
        pytest.raises(BusyError, match=f"stage train is running as process {os.getpid()}"),
        only_one("train"),
    ):
        pass
    with only_one("explain"):
        pass


@pytest.mark.parametrize(("content", "dropped"), [(None, False), ("", False), ("{}", False), ('{"a": {"b', True)])
def test_dvcs_own_locks_are_dropped_only_when_broken(tmp_path, monkeypatch, content, dropped):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_text(content)
    assert drop_broken_dvc_lock() == dropped
    assert file.exists() == (content is not None and not dropped)
