""".ci/comment.py against the two hosts' interface."""

import os
import subprocess
import sys

import pytest

from conftest import REPOSITORY
from hosts import serving

BODY = "<!-- layershap compare -->\n## ä | `x`\n"


@pytest.fixture(params=["github", "gitlab"])
def host(request):
    with serving(request.param) as host:
        yield host


def comment(host, tmp_path, body=BODY, token="secret"):
    (tmp_path / "report.md").write_text(body)
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_"))}
    environment = {**keep, **host.variables(), "NUMBER": "7", "TOKEN": token}
    done = subprocess.run(
        [sys.executable, REPOSITORY / ".ci" / "comment.py", tmp_path / "report.md"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_comment_is_written_and_then_changed(host, tmp_path):
    others = {number: f"said by others, <!-- layershap compare --> {number}" for number in range(1, 231)}
    host.comments.update(others)
    assert "written" in comment(host, tmp_path)
    assert host.comments == {**others, 231: BODY}  # on the third page
    assert "changed" in comment(host, tmp_path, BODY + "more")
    assert host.comments == {**others, 231: BODY + "more"}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_without_the_right_to_write_the_job_goes_on(host, tmp_path, status):
    host.refused = status
    assert str(status) in comment(host, tmp_path)
    host.comments[1] = BODY
    assert str(status) in comment(host, tmp_path, BODY + "more")
    assert host.comments == {1: BODY}


def test_without_a_token_or_a_host_the_job_goes_on(host, tmp_path):
    assert "TOKEN" in comment(host, tmp_path, token="")
    host.address = "http://127.0.0.1:9"
    assert "no comment" in comment(host, tmp_path)
    assert host.comments == {}
