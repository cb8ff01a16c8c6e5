"""Where a run comes from: the state of git and of DVC, and what of the machine changes the last bits."""

import getpass
import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from layershap.workspace import paths
from layershap.workspace.dvc_lock import locked_stages
from layershap.workspace.git_command import git
from layershap.workspace.params import Params

PACKAGES = ("torch", "torchvision", "numpy", "pytorch-lightning", "shap", "dvc")


def git_tags() -> dict[str, str]:
    """Return commit, branch and whether tracked files differ from the commit; nothing outside a git repository."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {
        "mlflow.source.git.commit": commit,
        "git.branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "git.dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
    }


def user() -> str:
    """Return who works here: git's user.name, else the name of the account."""
    if name := _git("config", "user.name"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return "unknown"


def git_diff() -> str:
    """Return what tracked files have beyond the commit, dvc.lock apart: a plain patch, whatever git is set to."""
    plain = ("--no-ext-diff", "--no-textconv", "--no-color")
    return _git("diff", *plain, "HEAD", "--", ".", ":(exclude)dvc.lock")


def dvc_tags() -> dict[str, str]:
    """Return the digests of dvc.lock and of the images, and the name of the DVC experiment if there is one.

    dvc.lock: of all its stages but record, which is still running when this is asked.
    """
    stages = {name: stage for name, stage in locked_stages().items() if name != "record"}
    digest = hashlib.md5(json.dumps(stages, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    tags = {"dvc.experiment": experiment(), "dvc.data": data_digest(), "dvc.lock": digest if stages else ""}
    return {key: value for key, value in tags.items() if value}


def experiment() -> str:
    """Return the name of the DVC experiment that is running; empty where there is none."""
    return os.environ.get("DVC_EXP_NAME", "")


def run_name(params: Params) -> str:
    """Return what a run is called: source, network, and the DVC experiment if there is one."""
    return " ".join(filter(None, [params.data.source, params.model.backbone, experiment()]))


def data_digest() -> str:
    """Return DVC's digest of the folder of images, as it stands in dvc.lock; empty before the first fetch."""
    outs = locked_stages().get("fetch", {}).get("outs", [])
    return next((str(out["md5"]) for out in outs if out["path"] == paths.RAW.as_posix()), "")


def machine_tags(threads: int) -> dict[str, str]:
    """Return what of the machine and its packages can change the last bits of a result."""
    tags = {f"version.{name}": found for name in PACKAGES if (found := _version(name))}
    tags |= {"machine.processor": _processor(), "machine.system": f"{platform.system()} {platform.machine()}"}
    if gpu := _gpu():
        tags["machine.gpu"] = gpu
    return {**tags, "machine.threads": str(threads), "machine.python": platform.python_version()}


def _version(name: str) -> str:
    """Return the version of a package; empty where it is not installed, as shap where no stage asks for it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _gpu() -> str:
    """Return the name of the GPU that torch takes first, with its CUDA; empty without one."""
    import torch

    if not torch.cuda.is_available():
        return ""
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _git(*arguments: str) -> str:
    return git(*arguments, seconds=20).rstrip("\n")
