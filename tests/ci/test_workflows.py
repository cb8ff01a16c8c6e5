"""The workflows are what their hosts read, and ask for no more than they need."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from conftest import REPOSITORY
from workflows import PULL_REQUEST, gitlab_text

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def schema(kind: str, file: Path) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", f"vendor.{kind}"]
    return subprocess.run([*command, file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_github_can_read_it(file, tmp_path):
    done = schema("github-workflows", file)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / file.name
    broken.write_text(file.read_text().replace("runs-on", "run-on"))
    assert schema("github-workflows", broken).returncode == 1


def test_gitlab_can_read_it(tmp_path):
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(gitlab_text())
    done = schema("gitlab-ci", file)
    assert done.returncode == 0, done.stdout
    file.write_text(gitlab_text().replace("when: always", "when: sometimes"))
    assert schema("gitlab-ci", file).returncode == 1


def test_the_pull_requests_job_is_no_danger():
    content = YAML(typ="safe").load(PULL_REQUEST)
    text = PULL_REQUEST.read_text()
    assert content["on"] == "pull_request"  # with a fork's rights: never pull_request_target
    assert content["permissions"] == {"contents": "read"}
    (job,) = content["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "secrets." not in text
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40}", step["uses"])
        else:
            # what a stranger chooses (a branch's name, a title) comes by the environment, never as a part of the script
            assert "${{" not in step["run"]
            assert len(step["run"].splitlines()) <= 2


def test_steps_that_are_named_in_conditions_come_before():
    (job,) = YAML(typ="safe").load(PULL_REQUEST)["jobs"].values()
    known = set()
    for step in job["steps"]:
        assert set(re.findall(r"steps\.(\w+)\.", step.get("if", ""))) <= known
        known.add(step.get("id"))
