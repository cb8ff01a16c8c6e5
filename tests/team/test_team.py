"""docs/team.md, followed line by line by two people: PostgreSQL, S3 and MLflow's server, all on the loopback.

The tests go on from one another, in their order.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from conftest import REPOSITORY
from pages import lines, section
from project import SETTINGS, Project
from servers import free_port, serving
from team_servers import Way, database, object_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PAGE = (REPOSITORY / "docs" / "team.md").read_text()
REGISTERED = "layershap-folder"
EPOCHS = SETTINGS["train"]["epochs"]
SECRETS = re.findall(r"\b(?:SECRET|PASSWORD)-OF-THE-\w+|\bSECRET-OF-\w+", PAGE)
ADMINISTRATOR = "sudo -u postgres "
NOT_RUN = {'pip install ".[pipeline,team]"': "needs a network"}


class Servers:
    """The three servers, and what the page's names stand for here."""

    def __init__(self, database, way, port):
        self.database, self.way = database, way
        self.address = f"http://127.0.0.1:{port}"
        self.places = {
            "s3.example.org:9000": f"127.0.0.1:{way.port}",
            "db.example.org:5432": f"127.0.0.1:{database.port}",
            "mlflow.example.org:5000": f"127.0.0.1:{port}",
        }
        self.client = MlflowClient(self.address)

    def here(self, line):
        """Return a line of the page with the names of this machine."""
        for name, place in self.places.items():
            line = line.replace(name, place)
        return line

    def administer(self, line):
        """Do what the page asks the database's administrator to do."""
        program, *arguments = line.removeprefix(ADMINISTRATOR).split()
        password = "PASSWORD-OF-THE-DATABASE\n"
        self.database.run(program, *arguments, given=password * 2)

    def runs(self):
        """Return all runs of the team's one experiment, the oldest first."""
        (experiment,) = [found for found in self.client.search_experiments() if found.name == "layershap"]
        return sorted(self.client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)

    def champion(self):
        """Return the version that is champion, as a number."""
        return int(self.client.get_model_version_by_alias(REGISTERED, "champion").version)

    def files(self, run, place=""):
        """Yield the paths of a run's artifacts."""
        for item in self.client.list_artifacts(run.info.run_id, place):
            yield from self.files(run, item.path) if item.is_dir else [item.path]

    def state(self):
        """Return all that is known of all runs and versions, the pictures of the grid by their count."""
        found = {}
        for run in self.runs():
            points = {name: self.points(run, name) for name in run.data.metrics}
            names = sorted(self.files(run))
            data = (run.data.params, run.data.tags, points, names, run.info.status, run.info.end_time)
            found[run.info.run_id] = data
        for version in self.client.search_model_versions(f"name = '{REGISTERED}'"):
            found[version.version] = (version.run_id, version.tags, version.aliases)
        return found

    def points(self, run, name):
        """Return every point of a metric of a run."""
        return [(point.step, point.value) for point in self.client.get_metric_history(run.info.run_id, name)]


class Person:
    """Someone with a clone, who types what the page says."""

    def __init__(self, name, origin, servers, folder):
        subprocess.run(["git", "clone", "-q", str(origin), str(folder)], check=True)
        self.project = Project.at(folder)
        self.servers = servers
        self.environment = {}
        for key, value in (("user.name", name), ("user.email", f"{name}@example.org")):
            self.project.run("git", "config", key, value)

    def follow(self, text):
        """Type all lines; return what each said."""
        said = []
        for line in text:
            if line.startswith("export "):
                name, _, value = self.servers.here(line).removeprefix("export ").partition("=")
                self.environment[name] = value
            else:
                said.append(self.run("bash", "-c", self.servers.here(line)))
        return said

    def run(self, *command, **options):
        """Run a command in the clone."""
        return self.project.run(*command, **self.environment, **options)

    def start(self, *command):
        """Start a command in the clone, and return the process, whose output is one stream."""
        return subprocess.Popen(
            command,
            cwd=self.project.root,
            env={**self.project.environment(), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def path(self, name) -> Path:
        """Return a file of the clone."""
        return self.project.root / name

    def own_run(self):
        """Return the one run of the model that is in the clone."""
        digest = hashlib.sha256(self.path("models/model.pt").read_bytes()).hexdigest()
        (run,) = [run for run in self.servers.runs() if run.data.tags.get("layershap.model") == digest]
        return run


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    for name in ("boto3", "dvc_s3", "psycopg2"):
        pytest.importorskip(name, reason=f"no {name}, which a team needs (pip install '.[team]')")
    folder = tmp_path_factory.mktemp("servers")
    with database() as running, object_store(folder) as store, pytest.MonkeyPatch.context() as patch:
        servers = Servers(running, Way(store), free_port())
        patch.setenv("MLFLOW_TRACKING_URI", servers.address)  # models:/ asks for it
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(servers.address)  # another test of this process may have named its own
        server = Project.at(folder)
        environment = {}
        for line in lines(section(PAGE, "The server")):
            if line.startswith(ADMINISTRATOR):
                servers.administer(line)
            elif line.startswith("export "):
                name, _, value = servers.here(line).removeprefix("export ").partition("=")
                environment[name] = value
            elif line.startswith("mlflow server"):
                command = ("bash", "-c", f'exec {servers.here(line)} --workers 1 "$@"', "-")
                with serving(server, *command, port=int(servers.address.rpartition(":")[2]), **environment):
                    yield servers
            elif line not in NOT_RUN:
                server.run("bash", "-c", servers.here(line), **environment)
        servers.way.close()
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Return a bare repository without pictures."""
    folder = tmp_path_factory.mktemp("git")
    start = Project(folder / "start", np.random.default_rng(0))
    shutil.move(start.root / "pictures", folder / "pictures")
    start.change("gate.min_accuracy", 0.0)
    start.commit()
    start.run("git", "clone", "-q", "--bare", str(start.root), str(folder / "origin.git"))
    return folder / "origin.git"


@pytest.fixture(scope="module")
def ann(servers, origin, tmp_path_factory):
    ann = Person("Ann", origin, servers, tmp_path_factory.mktemp("ann") / "layershap")
    shutil.copytree(origin.parent / "pictures", ann.path("pictures"))
    return ann


@pytest.fixture(scope="module")
def ben(servers, origin, tmp_path_factory):
    return Person("Ben", origin, servers, tmp_path_factory.mktemp("ben") / "layershap")


def assert_complete(person):
    """Assert that the server has all that the clone has of its model: every point once, every file, one version."""
    servers, run = person.servers, person.own_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["layershap.gate"] == json.loads(person.path("metrics/gate.json").read_text())["verdict"]
    curve = pd.read_csv(person.path("plots/learning_curve.csv"))
    for name in curve.columns.drop("epoch"):
        assert servers.points(run, name) == [(step + 1, value) for step, value in enumerate(curve[name])]
    for stage, prefix in (("evaluate", "test/"), ("explain", "explain/"), ("train", "train/")):
        for name, value in json.loads(person.path(f"metrics/{stage}.json").read_text()).items():
            if isinstance(value, (int, float)):
                assert run.data.metrics.get(prefix + name, run.data.metrics.get(name)) == value, name
    folder = Path(download_artifacts(run_id=run.info.run_id, tracking_uri=servers.address))
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    here = {
        "report.html": "reports/report.html",
        "model_card.md": "reports/model_card.md",
        "data/split.csv": "data/split.csv",
        "evaluation/predictions.csv": "plots/predictions.csv",
        "gate/gate.json": "metrics/gate.json",
        "model_description/model.json": "models/model.json",
    }
    for root, place in (("explanations", "explanations"), ("plots/evaluate", "plots")):
        for file in person.path(root).rglob("*"):
            if file.is_file():
                here[f"{place}/{file.relative_to(person.path(root))}"] = file.relative_to(person.project.root)
    assert len(here) > 20
    for artifact, file in here.items():
        assert there[artifact].read_bytes() == person.path(file).read_bytes(), artifact
    assert len([name for name in there if name.startswith("images/")]) == 6  # two sheets, the layers, each small too
    assert len(run.inputs.dataset_inputs) == 3
    (version,) = servers.client.search_model_versions(f"run_id = '{run.info.run_id}'")
    uri = f"models:/{version.name}/{version.version}"
    model = Path(download_artifacts(uri, tracking_uri=servers.address))
    (weights,) = model.rglob("model.pt")
    assert weights.read_bytes() == person.path("models/model.pt").read_bytes()
    assert not list(person.path("work").glob("spool/*"))
    return run


def test_the_first_person_trains_and_pushes(servers, ann):
    ann.follow(lines(section(PAGE, "The first person")))
    run = assert_complete(ann)
    assert servers.runs()[0].info.run_id == run.info.run_id and len(servers.runs()) == 1
    assert run.data.tags["mlflow.user"] == "Ann"
    assert servers.champion() == 1
    assert not ann.run("git", "status", "--porcelain").stdout
    assert "in sync" in ann.run("dvc", "status", "--cloud").stdout


def test_no_secret_is_in_git_or_in_a_run(servers, ann, origin, tmp_path):
    assert len(SECRETS) == 4
    history = subprocess.run(["git", "log", "-p", "--all"], cwd=origin, capture_output=True, text=True, check=True)
    folder = download_artifacts(run_id=ann.own_run().info.run_id, dst_path=str(tmp_path), tracking_uri=servers.address)
    kept = [file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()]
    for secret in SECRETS:
        assert secret not in history.stdout
        assert secret not in str(servers.state())
        assert not any(secret.encode() in content for content in kept)


def test_another_person_computes_nothing(servers, ben):
    before = servers.state()
    done = ben.follow(lines(section(PAGE, "Each other person")))[-1]
    assert [line for line in done.stdout.splitlines() if "Running" in line] == ["Running stage 'record':"]
    assert "Warning" not in done.stdout + done.stderr
    assert servers.state() == before
    assert "up to date" in ben.run("dvc", "repro").stdout
    assert not ben.run("git", "status", "--porcelain").stdout
    assert_complete(ben)


def test_a_candidate_is_compared_and_promoted_by_another_person(servers, ann, ben):
    ann.project.change("tracking.promote", "by_hand")
    steps = lines(section(PAGE, "A candidate"))
    turn = steps.index("git fetch")
    ann.follow(steps[:turn])
    candidate = assert_complete(ann)
    assert candidate.data.tags["layershap.gate"] == "PASS"
    assert servers.champion() == 1
    before = servers.state()
    *_, reproduced, compared, promoted = ben.follow(steps[turn:])
    assert [line for line in reproduced.stdout.splitlines() if "Running" in line] == ["Running stage 'record':"]
    assert f"kept with run {candidate.info.run_id}" in compared.stdout
    page = ben.path("reports/compare.html").read_text()
    assert "head.hidden" in page and candidate.info.run_id in (compared.stdout + page)
    assert f"{REGISTERED} version 2 is champion now (it was version 1)" in promoted.stdout
    assert servers.champion() == 2
    after = servers.state()
    assert set(after) == set(before)  # no run and no version more
    assert after["2"][1]["layershap.promoted_by"] == "Ben"
    assert "champion already" in ben.run("layershap", "promote").stdout
    ben.project.change("gate.max_drop", 0.5)
    refused = ben.run("layershap", "promote", expect=3)
    assert "the gate says INVALID" in refused.stderr and "Traceback" not in refused.stderr
    ben.run("git", "checkout", "-q", "params.yaml")


def test_both_train_at_once_and_the_database_stops_meanwhile(servers, ann, ben):
    known = {run.info.run_id for run in servers.runs()}
    rates = {ann: 0.002, ben: 0.003}
    started = {
        who: who.start("layershap", "repro", "--set", f"train.learning_rate={rate}") for who, rate in rates.items()
    }
    said = {who: [] for who in rates}
    for who, process in started.items():  # both are in the middle of training
        for line in process.stdout:
            said[who].append(line)
            if re.search(rf"epoch 2 of {EPOCHS}", line):
                break
    servers.database.stop()
    for who, process in started.items():
        rest, _ = process.communicate(timeout=900)
        assert process.returncode == 0, rest
        assert servers.address in rest and "layershap sync" in rest
        assert list(who.path("work/spool").glob("*"))
    for command in ("promote", "compare", "sync"):
        refused = ann.run("layershap", command, expect=3)
        assert "Traceback" not in refused.stderr
        assert "layershap sync" in refused.stderr or servers.address in refused.stderr
    servers.database.start()
    ann.follow(lines(section(PAGE, "When a server is down")))
    assert_complete(ann)
    assert ann.own_run().info.run_id not in known and is_of(ann.own_run(), 0.002, "Ann")
    assert servers.champion() == 2


def is_of(run, rate, user):
    """Return whether a run is of this person with this learning rate."""
    return (run.data.params.get("train.learning_rate"), run.data.tags["mlflow.user"]) == (str(rate), user)


def test_s3_stops_while_a_model_is_sent_recorded_and_pushed(servers, ann, ben, origin, tmp_path):
    """Ben's model still waits, since the database stopped."""

    def stopping(person, *command, after, expect=None):
        servers.way.close()
        servers.way.open(least=after)
        done = person.run(*command, expect=expect)
        assert servers.way.closed, f"all of {command} was through before"
        return done

    sent = stopping(ben, "layershap", "sync", after=400_000, expect=3)
    assert "Traceback" not in sent.stderr and servers.address in sent.stderr
    recorded = stopping(ann, "layershap", "record", after=400_000, expect=0)
    assert "layershap sync" in recorded.stderr and "kept for 'layershap sync'" in recorded.stdout
    pushed = stopping(ben, "dvc", "push", after=200_000)
    again = ben.run("dvc", "push", expect=None)  # nobody answers any more
    for failed in (pushed, again):
        assert failed.returncode != 0 and "ERROR" in failed.stderr
    servers.way.open()
    for person in (ann, ben):
        person.follow(lines(section(PAGE, "When a server is down")))
        assert_complete(person)
        assert "in sync" in person.run("dvc", "status", "--cloud").stdout
    assert is_of(ben.own_run(), 0.003, "Ben")
    for command in (["git", "add", "-u"], ["git", "commit", "-qm", "Another rate"], ["git", "push", "-q"]):
        ben.run(*command)
    cy = Person("Cy", origin, servers, tmp_path / "layershap")
    cy.run("git", "switch", "-q", "wider")
    *pulled, reproduced = lines(section(PAGE, "Each other person"))
    assert reproduced == "dvc repro"  # that it computes nothing is seen above
    cy.follow(pulled)
    for place in ("data/raw", "models", "explanations", "plots/evaluate", "reports"):
        files = [file for file in ben.path(place).rglob("*") if file.is_file()]
        assert files, place
        for file in files:
            assert cy.path(file.relative_to(ben.project.root)).read_bytes() == file.read_bytes(), file


def test_a_backup_holds_everything(servers):
    import psycopg2

    for line in lines(section(PAGE, "Backups")):
        servers.administer(line)
    counts = []
    for name in ("mlflow", "restored"):
        place = {"host": "127.0.0.1", "port": servers.database.port, "user": "mlflow", "dbname": name}
        with psycopg2.connect(**place, password="PASSWORD-OF-THE-DATABASE") as link, link.cursor() as ask:
            found = []
            for table in ("runs", "metrics", "params", "tags", "model_versions", "datasets"):
                ask.execute(f"SELECT count(*) FROM {table}")
                found.append(ask.fetchone()[0])
        counts.append(found)
    assert counts[0] == counts[1] and min(counts[0]) > 0


def test_every_command_of_the_page_was_typed():
    titles = re.findall(r"^## (.+)$", PAGE, flags=re.M)
    typed = {"The server", "The first person", "Each other person", "A candidate", "When a server is down", "Backups"}
    assert {title for title in titles if lines(section(PAGE, title))} == typed
    assert set(NOT_RUN) <= set(lines(section(PAGE, "The server")))
