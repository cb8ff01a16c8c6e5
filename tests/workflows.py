"""What GitHub's and GitLab's runners do with the steps of a workflow, as far as this project's workflows ask for it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from conftest import REPOSITORY

PULL_REQUEST = REPOSITORY / ".github" / "workflows" / "pull-request.yml"
CI_PAGE = REPOSITORY / "docs" / "ci.md"


def gitlab_text() -> str:
    """Return the .gitlab-ci.yml that the documentation gives."""
    (text,) = re.findall(r"```yaml\n(.*?)```", CI_PAGE.read_text(), re.S)
    return text


@dataclass
class Job:
    """A job in a checkout. `status`: its exit status; `done`: what each step with a name (its id) ended with."""

    root: Path
    environment: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)  # of GitHub's expressions
    status: int = 0
    done: dict[str, subprocess.CompletedProcess] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)

    def shell(self, command: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
        """Run a script as a runner does: it ends with the first command that fails."""
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=self.root, env={**self.environment, **environment},
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        self.status = self.status or done.returncode
        return done

    def filled(self, text: Any) -> str:
        """Return a text with the values of its expressions; KeyError for one that has none."""
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: self.values[found[1]], str(text))

    def wanted(self, step: dict[str, Any]) -> bool:
        """Return what a step's condition says: without one it is run while no step has failed."""
        if "if" not in step:
            return self.status == 0
        parts = re.fullmatch(r"\$\{\{ (.*) \}\}", step["if"])[1].split(" && ")
        answers = []
        for part in parts:
            if part == "!cancelled()":
                answers.append(True)
                continue
            name, outcome = re.fullmatch(r"steps\.(\w+)\.outcome == '(\w+)'", part).groups()
            known = self.done.get(name)
            answers.append(outcome == ("skipped" if known is None else "failure" if known.returncode else "success"))
        assert "!cancelled()" in parts  # else a failed step before would skip it
        return all(answers)


def run_github(job: Job, cache: Path) -> None:
    """Run the steps of the pull request's job. `cache`: what is kept of .dvc/cache between jobs."""
    (described,) = YAML(typ="safe").load(PULL_REQUEST)["jobs"].values()

    def keep(given):
        job.artifacts += [job.root / name for name in given["path"].split()]

    actions: dict[str, Callable[[dict[str, Any]], None]] = {
        "actions/checkout": lambda given: None,
        "actions/setup-python": lambda given: None,
        "actions/cache/restore": lambda given: copied(cache, job.root / given["path"]),
        "actions/cache/save": lambda given: copied(job.root / given["path"], cache),
        "actions/upload-artifact": keep,
    }
    for number, step in enumerate(described["steps"]):
        if not job.wanted(step):
            continue
        if "uses" in step:
            actions[step["uses"].partition("@")[0]](step.get("with", {}))
            continue
        environment = {name: job.filled(value) for name, value in step.get("env", {}).items()}
        job.done[step.get("id", str(number))] = job.shell(job.filled(step["run"]), environment)


def run_gitlab(job: Job, cache: Path) -> None:
    """Run the script of GitLab's job: as one, up to the first line that fails; its artifacts are kept in any case."""
    (described,) = YAML(typ="safe").load(gitlab_text()).values()
    assert described["cache"]["paths"] == [".dvc/cache"]
    copied(cache, job.root / ".dvc" / "cache")
    variables = {name: str(value) for name, value in described["variables"].items()}
    for line in described["script"]:
        job.done[line] = job.shell(line, variables)
        if job.status:
            break
    copied(job.root / ".dvc" / "cache", cache)
    job.artifacts += [job.root / name for name in described["artifacts"]["paths"]]
    job.artifacts.append(job.root / described["artifacts"]["reports"]["junit"])


def copied(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target, dirs_exist_ok=True)
