"""A small project of its own for tests that run the real pipeline: real DVC, real SQLite, tiny images."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from conftest import REPOSITORY, write_classes


def processor_seconds() -> float:
    """Return the processor's time that ended child processes took: other tests beside this one do not change it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# as in the paper: the quickest training, and few steps are enough
FROZEN = YAML(typ="safe").load(REPOSITORY / "benchmarks" / "recipes.yaml")["frozen, Dense 64"]
SETTINGS = {
    "data": {"source": "folder", "path": "pictures"},
    "split": {"val": 0.25},
    "model": {"image_size": 64},
    "head": {"hidden": [8]},
    "train": {"epochs": 4, "batch_size": 16, "learning_rate": 0.001},
    "explain": {"references": 4, "more_references": 6, "segments": 2, "images": 2, "mistakes": 0},
    "gate": {"min_accuracy": 0.5},
}


MADE = ("quality", "other_faces", "folds", "dvc.lock")  # in a folder study/ that was used
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "tmp", "cache", *MADE)


class Project:
    """The repository's pipeline in `root`, on pictures of discs and squares."""

    def __init__(self, root: Path, rng, settings=None, count=24):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for name in ("dvc.yaml", "params.yaml", "MLproject", "python_env.yaml", ".gitignore", ".dvcignore"):
            shutil.copy(REPOSITORY / name, root)
        shutil.copytree(REPOSITORY / "data" / "own_masks", root / "data" / "own_masks")
        for name in ("src", "baseline", "study"):
            shutil.copytree(REPOSITORY / name, root / name, ignore=IGNORED)
        for name in ("baseline.json", "folds.json"):
            (root / "baseline" / name).unlink(missing_ok=True)
        (root / ".dvc").mkdir()
        shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc")
        shutil.copy(REPOSITORY / ".dvc" / ".gitignore", root / ".dvc")
        write_classes(root / "pictures", rng, count=count)
        for name, value in FROZEN.items():
            self.change(name, value)
        for section, values in (settings or SETTINGS).items():
            for key, value in values.items():
                self.change(f"{section}.{key}", value)
        self.run("git", "init", "-q")
        self.commit()

    @classmethod
    def at(cls, root: Path) -> "Project":
        """Return a project that is there already."""
        project = cls.__new__(cls)
        project.root = root
        return project

    def copied_to(self, root: Path) -> "Project":
        """Return a copy without store, run artifacts and what stages keep while they work."""
        left = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "work", "tmp")
        shutil.copytree(self.root, root, ignore=left, symlinks=True)
        return Project.at(root)

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a step")

    def client(self):
        """Return a client of the project's store."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def change(self, name: str, value) -> None:
        """Change a setting in params.yaml."""
        yaml = YAML()
        content = yaml.load(self.root / "params.yaml")
        section, _, key = name.partition(".")
        if isinstance(value, list):
            value = CommentedSeq(value)
            value.fa.set_flow_style()  # as the project writes lists
        if key:
            content[section][key] = value
        else:
            content[section] = value
        yaml.dump(content, self.root / "params.yaml")

    def environment(self) -> dict[str, str]:
        """Return an environment without other projects' settings, with this interpreter's commands on its path."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        folder = str(Path(sys.executable).parent)
        return {**keep, "PATH": f"{folder}:{keep['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(self, *command: str, expect: int | None = 0, **environment: str) -> subprocess.CompletedProcess:
        """Run a command in the project and check its exit status."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert expect is None or done.returncode == expect, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def runs(self) -> list:
        """Return all MLflow runs in the project's store."""
        client = self.client()
        return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])

    def artifact(self, run, name: str) -> Path:
        """Return the file of an artifact of a run."""
        return self.root / "mlartifacts" / run.info.run_id / "artifacts" / name

    def artifacts(self, run) -> set[str]:
        """Return the paths of a run's artifacts."""
        root = self.root / "mlartifacts" / run.info.run_id / "artifacts"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
