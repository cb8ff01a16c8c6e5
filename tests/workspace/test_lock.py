import os

import pytest

from layershap.workspace.errors import BusyError
from layershap.workspace.lock import only_one


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
