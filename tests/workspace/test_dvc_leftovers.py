"""What is left of DVC's own files by a kill, cut at every byte."""

import pytest

from conftest import REPOSITORY
from layershap.workspace import paths
from layershap.workspace.dvc_leftovers import mend_leftovers


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("content", "dropped"), [(None, False), ("", True), ("{}", False), ('{"a": {"b', True)])
def test_dvcs_table_of_locks_is_dropped_only_when_broken(content, dropped):
    if content is not None:
        paths.DVC_RWLOCK.parent.mkdir(parents=True)
        paths.DVC_RWLOCK.write_text(content)
    assert len(mend_leftovers()) == dropped
    assert paths.DVC_RWLOCK.exists() == (content is not None and not dropped)


def test_a_whole_dvc_lock_stays():
    whole = (REPOSITORY / "dvc.lock").read_bytes()
    paths.DVC_LOCK.write_bytes(whole)
    assert mend_leftovers() == []
    assert paths.DVC_LOCK.read_bytes() == whole


@pytest.mark.parametrize("end", ["", "schema: '2", "stages:\n", "  extract:\n", "  deps:\n", "hash: m", "  md5: "])
def test_a_cut_dvc_lock_is_set_aside_where_dvc_cannot_read_it(end):
    whole = (REPOSITORY / "dvc.lock").read_bytes()
    length = whole.index(end.encode()) + len(end)
    paths.DVC_LOCK.write_bytes(whole[:length])
    (said,) = mend_leftovers()
    assert "half-written" in said
    assert not paths.DVC_LOCK.exists()
    assert paths.BROKEN_DVC_LOCK.read_bytes() == whole[:length]


def test_a_conflict_of_a_merge_is_left_to_its_owner():
    paths.DVC_LOCK.write_text("<<<<<<< ours\nschema: '2.0'\n=======\n>>>>>>> theirs\n")
    assert mend_leftovers() == []
    assert paths.DVC_LOCK.exists()
