"""The steps of a pull request's job, run as a runner would, on branches of a small project."""

import html
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import REPOSITORY
from hosts import serving
from layershap.workspace import paths
from project import Project
from workflows import Job, run_github, run_gitlab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def hosted(tracked, tmp_path_factory):
    """Return a repository with branches main, worse and same, and what earlier jobs kept of DVC's cache."""
    folder = tmp_path_factory.mktemp("hosted")
    project = tracked.copied_to(folder / "origin")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, project.root)
    shutil.copytree(REPOSITORY / ".ci", project.root / ".ci")
    project.commit()
    project.run("git", "branch", "-M", "main")
    project.run("git", "checkout", "-q", "-b", "worse")
    project.change("train.epochs", 1)
    project.change("train.learning_rate", 1e-7)
    project.commit()
    project.run("git", "checkout", "-q", "-b", "same", "main")
    (project.root / "README.md").write_text("A remark.\n")
    project.commit()
    project.run("git", "checkout", "-q", "main")
    shutil.copytree(project.root / ".dvc" / "cache", folder / "cache")
    return project


def checkout(hosted, branch: str, folder: Path) -> Project:
    """Return a checkout with all history, and the environment that `make env` makes."""
    hosted.run("git", "clone", "-q", "--branch", branch, f"file://{hosted.root}", str(folder))
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv" / "ready").touch()
    return Project.at(folder)


def job_of(hosted, branch: str, folder: Path, host) -> Job:
    """Return the job of a request from `branch` to main, with what its host has in a job's environment."""
    project = checkout(hosted, branch, folder)
    keep = {name: value for name, value in project.environment().items() if not name.startswith(("GITHUB_", "CI_"))}
    base = project.run("git", "merge-base", "HEAD", "origin/main").stdout.strip()
    given = {
        "github": {"GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md")},
        "gitlab": {
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
            "CI_MERGE_REQUEST_IID": "7",
            "CI_JOB_URL": "https://ci.example/jobs/3",
            "LAYERSHAP_TOKEN": "secret",
        },
    }[host.kind]
    values = {
        "github.base_ref": "main",
        "github.server_url": "https://ci.example",
        "github.repository": "me/project",
        "github.run_id": "3",
        "github.token": "secret",
        "github.event.pull_request.number": "7",
    }
    return Job(folder, {**keep, **host.variables(), **given}, values)


def lost_images(project: Project) -> set[str]:
    """Return the images that main's model had right and the one here has wrong."""
    place = paths.PREDICTIONS.as_posix()
    (project.root / "before.csv").write_text(project.run("git", "show", f"origin/main:{place}").stdout)
    before, after = (pd.read_csv(project.root / name).set_index("path") for name in ("before.csv", place))
    return set(before.index[(before["correct"] == 1) & (after.loc[before.index, "correct"] == 0)])


def named_in(report: str) -> set[str]:
    """Return the pictures in the report's table of lost ones."""
    if "### Lost" not in report:
        return set()
    rows = report.split("### Lost")[1].split("###")[0].splitlines()
    cells = [row.split(" | ")[0].removeprefix("| ") for row in rows if row.startswith("| ") and "picture" not in row]
    return {html.unescape(re.sub(r"</?code>|`", "", cell)) for cell in cells}


@pytest.fixture(scope="module")
def red(hosted, tmp_path_factory):
    """Return GitHub's job of the worse branch, and the comments that it left."""
    with serving("github") as host:
        job = job_of(hosted, "worse", tmp_path_factory.mktemp("red") / "checkout", host)
        run_github(job, hosted.root.parent / "cache")
    return job, list(host.comments.values())


def is_red_with_a_report(job: Job, comments: list[str]) -> None:
    said = {name: done.stdout + done.stderr for name, done in job.done.items()}
    assert job.status == 1, said
    failed = [name for name, done in job.done.items() if done.returncode]
    assert len(failed) == 1 and "gate" in failed[0], said
    report = (job.root / "report.md").read_text()
    lost = lost_images(Project.at(job.root))
    assert lost and named_in(report) == lost
    assert re.search(r"^## `workspace` against `\S+`: FAIL$", report, re.M)
    assert "| `train.epochs` | `4` | `1` |" in report
    assert f"**{len(lost)} lost, " in report
    assert "https://ci.example/" in report
    assert comments == [report]
    assert all(path.exists() for path in job.artifacts) and job.root / "report.md" in job.artifacts
    assert (job.root / paths.COMPARISON).exists() and job.root / paths.REPORTS in job.artifacts
    # the base's maps were in the cache, so that the page has both
    assert "No image has heatmaps in both" not in (job.root / paths.COMPARISON).read_text()


def test_a_worse_branch_ends_red_and_the_report_says_which_images_were_lost(red):
    job, comments = red
    is_red_with_a_report(job, comments)
    assert (job.root.parent / "summary.md").read_text() == comments[0]


def test_the_same_on_gitlab(hosted, red, tmp_path):
    """The author has run the pipeline, and committed what it wrote; the cache is that of the first job."""
    with serving("gitlab") as host:
        job = job_of(hosted, "worse", tmp_path / "checkout", host)
        for name in (paths.DVC_LOCK, paths.METRICS, paths.PLOTS):
            place = red[0].root / name
            shutil.copytree(place, job.root / name, dirs_exist_ok=True) if place.is_dir() else shutil.copy(
                place, job.root
            )
        Project.at(job.root).commit()
        run_gitlab(job, hosted.root.parent / "cache")
    is_red_with_a_report(job, list(host.comments.values()))
    (repro,) = [done for line, done in job.done.items() if line.endswith("repro")]
    assert "Running stage 'train'" not in repro.stdout


def test_a_branch_that_is_no_worse_ends_green(hosted, tmp_path):
    with serving("github") as host:
        host.refused = 403  # a fork's token
        job = job_of(hosted, "same", tmp_path / "checkout", host)
        run_github(job, hosted.root.parent / "cache")
    said = {name: done.stdout + done.stderr for name, done in job.done.items()}
    assert job.status == 0, said
    assert "Running stage 'train'" not in said["repro"]  # its model came from the cache
    report = (tmp_path / "summary.md").read_text()
    assert ": PASS\n" in report and "**0 lost, 0 gained**" in report
    assert host.comments == {} and "403" in "".join(said.values())


def test_where_the_pipeline_fails_there_is_no_report_of_an_older_model(hosted, tmp_path):
    with serving("github") as host:
        job = job_of(hosted, "same", tmp_path / "checkout", host)
        Project.at(job.root).change("train.epochs", 0)
        run_github(job, hosted.root.parent / "cache")
    assert job.status != 0 and job.done["repro"].returncode == job.status
    assert "train.epochs" in job.done["repro"].stderr
    assert not (job.root / "report.md").exists() and job.artifacts == [] and host.comments == {}


def test_what_a_remote_has_is_pulled(hosted, tmp_path):
    """Without a cache of earlier jobs, but with a DVC remote: nothing is trained again."""
    remote = tmp_path / "remote"
    hosted.run("dvc", "remote", "add", "-d", "-f", "shared", str(remote))
    hosted.run("dvc", "push")
    config = (hosted.root / ".dvc" / "config").read_text()
    hosted.run("git", "checkout", "-q", ".dvc/config")
    project = checkout(hosted, "main", tmp_path / "checkout")
    done = project.run("make", "pull")
    assert "cannot be read" not in done.stdout  # no remote: nothing is asked
    assert not (project.root / paths.MODEL_WEIGHTS).exists()
    (project.root / ".dvc" / "config").write_text(config)
    project.run("make", "pull")
    assert (project.root / paths.MODEL_WEIGHTS).exists()
    assert set(json.loads(project.run("dvc", "status", "--json").stdout)) == {"record"}  # which runs in every clone
    # remotes that have nothing, cannot be reached, or cannot be asked: the job goes on, and computes
    for address in (tmp_path / "none", "http://127.0.0.1:9/none", "s3://none/none"):
        project.run("git", "clean", "-qfdx", "--exclude", ".venv")
        (project.root / ".dvc" / "config").write_text(config.replace(str(remote), str(address)))
        done = project.run("make", "pull", AWS_EC2_METADATA_DISABLED="true")
        assert not (project.root / paths.MODEL_WEIGHTS).exists()
    assert "cannot be read" in done.stdout
