import json

import pytest

from layershap.tracking.spool import Spool


def test_calls_come_back_in_order_with_their_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    (tmp_path / "b.png").write_text("b")
    spool = Spool(tmp_path / "spool")
    spool.append("log_metrics", {"metrics": {"loss": 0.5}, "step": 3})
    spool.append("log_artifacts", {"path": tmp_path / "folder", "folder": None})
    spool.append("log_images", {"images": {"a b": tmp_path / "b.png"}, "digest": "t"})
    (tmp_path / "b.png").write_text("changed later")
    first, second, third = spool.entries()
    assert (first.name, first.arguments) == ("log_metrics", {"metrics": {"loss": 0.5}, "step": 3})
    assert (second.arguments["path"] / "a.txt").read_text() == "a"
    assert second.arguments["path"].name == "folder"
    assert third.arguments["images"]["a b"].read_text() == "b"


def test_what_was_sent_is_forgotten_and_the_count_goes_on(tmp_path):
    spool = Spool(tmp_path / "spool")
    for number in range(3):
        spool.append("call", {"number": number})
    next(spool.entries()).remove()
    spool.append("call", {"number": 3})
    assert [entry.arguments["number"] for entry in spool.entries()] == [1, 2, 3]
    assert not spool.close()
    for entry in spool.entries():
        entry.remove()
    assert spool.close()
    assert not list(spool.entries())
    assert not (tmp_path / "spool").exists()


def test_half_an_entry_is_none(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.append("call", {})
    (tmp_path / "spool" / "000002.partial").mkdir()
    assert len(list(spool.entries())) == 1


def test_what_cannot_be_kept_is_an_error_at_once(tmp_path):
    with pytest.raises(TypeError):
        Spool(tmp_path / "spool").append("call", {"model": object()})
    assert not list(Spool(tmp_path / "spool").entries())


def test_a_call_is_readable(tmp_path):
    Spool(tmp_path).append("set_tags", {"tags": {"a": "b"}})
    assert json.loads((tmp_path / "000001" / "call.json").read_text()) == {
        "name": "set_tags",
        "arguments": {"tags": {"a": "b"}},
    }


def test_what_is_appended_while_others_are_sent_is_sent_too(tmp_path):
    spool = Spool(tmp_path / "spool", ("join", {"run_id": "a"}))
    spool.append("call", {"number": 1})
    sent = []
    for entry in Spool.reopen(tmp_path / "spool").entries():
        if len(sent) == 1:
            spool.append("call", {"number": 2})
        sent.append(entry.name)
        if entry.name != "join":
            entry.remove()
    assert sent == ["join", "call", "call"]
    assert spool.close()
    # the run goes on, and says again which one it is
    spool.append("call", {"number": 3})
    assert [entry.name for entry in spool.entries()] == ["join", "call"]


def test_a_kill_while_a_sent_call_is_removed_leaves_none(tmp_path):
    spool = Spool(tmp_path / "spool", ("join", {"run_id": "a"}))
    spool.append("call", {"number": 1})
    spool.append("call", {"number": 2})
    # what is left of a folder that was being removed
    (tmp_path / "spool" / "000002").rename(tmp_path / "spool" / "000002.sent")
    (tmp_path / "spool" / "000002.sent" / "call.json").unlink()
    assert [entry.arguments.get("number") for entry in spool.entries()] == [None, 2]
