import re
import subprocess

from layershap.tracking import lineage


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True, capture_output=True)


def test_a_clean_and_a_dirty_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lineage.git_tags() == {}
    git("init", "-q", "-b", "work")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("add", "params.yaml")
    git("commit", "-qm", "start")
    tags = lineage.git_tags()
    assert re.fullmatch("[0-9a-f]{40}", tags["mlflow.source.git.commit"])
    assert (tags["git.branch"], tags["git.dirty"]) == ("work", "false")
    assert lineage.git_diff() == ""
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert lineage.git_tags()["git.dirty"] == "true"
    assert "+a: 2" in lineage.git_diff()


def test_the_patch_is_plain_whatever_git_is_set_to(tmp_path, monkeypatch):
    """M9."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / ".gitattributes").write_text("params.yaml diff=shout\n")
    git("add", "-A")
    git("commit", "-qm", "start")
    for name, value in {"diff.external": "echo", "color.ui": "always", "diff.shout.textconv": "echo"}.items():
        git("config", name, value)
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert lineage.git_diff().splitlines()[-2:] == ["-a: 1", "+a: 2"]


def test_the_digest_of_the_images_is_that_of_dvc_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lineage.data_digest() == ""
    (tmp_path / "dvc.lock").write_text("stages:\n  fetch:\n    outs:\n    - path: data/raw\n      md5: abc.dir\n")
    assert lineage.data_digest() == "abc.dir"
    monkeypatch.setenv("DVC_EXP_NAME", "jolly-name")
    assert lineage.dvc_tags()["dvc.experiment"] == "jolly-name"
    assert re.fullmatch("[0-9a-f]{32}", lineage.dvc_tags()["dvc.lock"])


def test_the_machine_is_described():
    tags = lineage.machine_tags(2)
    assert tags["machine.threads"] == "2"
    assert tags["machine.processor"]
    assert tags["version.torch"]


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(lineage, "PACKAGES", ("torch", "no-such-package"))
    tags = lineage.machine_tags(2)
    assert "version.torch" in tags and "version.no-such-package" not in tags


def test_the_user_is_gits_or_the_account(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("LOGNAME", "ann")
    assert lineage.user() == "ann"
    git("init", "-q")
    git("config", "user.name", "Ann Other")
    assert lineage.user() == "Ann Other"
