"""`layershap gate --check`: a door that says yes to nothing that dvc.lock does not know (rows D1 to D6, D12, D13)."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ruamel.yaml import YAML

from project import Project, processor_seconds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

READ = (
    "metrics/evaluate.json",
    "metrics/explain.json",
    "metrics/split.json",
    "plots/layers.csv",
    "plots/predictions.csv",
    "baseline/baseline.json",
)
# one process for many checks: (exit status, what it printed) of each
SERVER = """
import contextlib, io, sys, traceback
sys.argv = ["layershap", "gate", "--check"]
from layershap.cli import main
for line in sys.stdin:
    said, status = io.StringIO(), None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
    print(repr((status, said.getvalue())), flush=True)
"""


@pytest.fixture(scope="module")
def checkout(tracked, tmp_path_factory):
    """Return a checkout of a finished project: what git keeps, and neither data nor model."""
    folder = tmp_path_factory.mktemp("gate")
    origin = tracked.copied_to(folder / "origin")
    origin.commit()
    origin.run("git", "clone", "-q", "--depth", "1", f"file://{origin.root}", str(folder / "checkout"))
    return Project.at(folder / "checkout")


@pytest.fixture
def clean(checkout):
    yield checkout
    checkout.run("git", "checkout", "-q", ".")
    checkout.run("git", "clean", "-qfd")


def refused(project, *reasons):
    done = project.run("layershap", "gate", "--check", expect=3)
    assert "gate: INVALID" in done.stdout
    for reason in reasons:
        assert reason in done.stdout
    assert "Traceback" not in done.stderr


def test_what_was_recorded_passes_and_no_file_is_written(clean, tmp_path):
    """D13."""
    before = processor_seconds()
    done = clean.run("layershap", "gate", "--check")
    assert processor_seconds() - before < 2
    assert "gate: PASS" in done.stdout
    clean.run("layershap", "gate", "--check", "--junit", "out.xml", "--markdown", str(tmp_path / "gate.md"))
    assert (tmp_path / "gate.md").read_text().startswith("### Gate: PASS")
    assert clean.run("git", "status", "--porcelain").stdout.split() == ["??", "out.xml"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("train.learning_rate", 0.5), ("model.backbone", "vgg19"), ("gate.min_accuracy", 0.01), ("split.seed", 7)],
)
def test_other_settings_than_the_models(clean, name, value):
    """D1."""
    clean.change(name, value)
    refused(clean, name, "dvc repro")


def test_a_setting_that_no_stage_reads_changes_nothing(clean):
    clean.change("quality.images", 3)
    clean.run("layershap", "gate", "--check")


def test_an_accuracy_edited_by_hand(clean):
    """D2."""
    path = clean.root / "metrics" / "evaluate.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "accuracy": 1.0}))
    refused(clean, "metrics/evaluate.json")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{"])
def test_broken_or_missing_files(clean, name, content):
    """D3 to D6."""
    path = clean.root / name
    path.unlink() if content is None else path.write_text(content)
    refused(clean, name.partition("/")[0])


@pytest.mark.parametrize("content", ["[]", "{", None])
def test_the_stages_files_say_invalid_too(clean, content):
    """D4, D5: an old PASS does not stay."""
    path = clean.root / "metrics" / "evaluate.json"
    path.unlink() if content is None else path.write_text(content)
    done = clean.run("layershap", "gate", expect=3)
    assert "Traceback" not in done.stderr
    assert json.loads((clean.root / "metrics" / "gate.json").read_text())["verdict"] == "INVALID"
    assert json.loads((clean.root / "metrics" / "headline.json").read_text()) == {"verdict": "INVALID"}
    assert "INVALID" in (clean.root / "metrics" / "gate.md").read_text()
    assert "<error" in (clean.root / "metrics" / "gate.xml").read_text()


def edit_lock(project, change):
    yaml = YAML()
    content = yaml.load(project.root / "dvc.lock")
    change(content["stages"])
    yaml.dump(content, project.root / "dvc.lock")


def swap_rows(project):
    path = project.root / "plots" / "predictions.csv"
    first, one, two, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, two, one, *others]) + "\n")


def drop_lock(project):
    (project.root / "dvc.lock").unlink()


def break_lock(project):
    (project.root / "dvc.lock").write_text("stages: [")


def forget_stage(project):
    edit_lock(project, lambda stages: stages.pop("explain"))


def command(project):
    path = project.root / "dvc.yaml"
    path.write_text(path.read_text().replace("cmd: layershap evaluate", "cmd: true"))


def fewer_dependencies(project):
    path = project.root / "dvc.yaml"
    path.write_text(path.read_text().replace("      - metrics/explain.json\n", "", 1))


def code(project):
    path = project.root / "src" / "layershap" / "judging" / "evaluation.py"
    path.write_text(path.read_text().replace("correct / count", "1.0"))


def another_file(project):
    path = project.root / "src" / "layershap" / "explain" / "more.py"
    path.write_text("")


def link(project):
    path = project.root / "metrics" / "evaluate.json"
    content = json.loads(path.read_text())
    path.unlink()
    (project.root / "better.json").write_text(json.dumps({**content, "accuracy": 1.0}))
    path.symlink_to("../better.json")


def metrics_and_lock(project):
    """The lock's digest follows the edit, but the predictions do not."""
    from layershap.workspace.files import file_digest

    path = project.root / "metrics" / "evaluate.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "accuracy": 0.25, "accuracy_low": 0.2, "accuracy_high": 0.3}))

    def follow(stages):
        for stage in stages.values():
            for item in [*stage.get("deps", []), *stage.get("outs", [])]:
                if item["path"] == "metrics/evaluate.json":
                    item["md5"], item["size"] = file_digest(path, "md5"), path.stat().st_size

    edit_lock(project, follow)


def hide(project):
    (project.root / ".dvcignore").write_text("*.py\n")


def a_second_key(project):
    path = project.root / "metrics" / "evaluate.json"
    path.write_text(path.read_text().rstrip()[:-1] + ', "accuracy": 1.0}')


WAYS = (
    swap_rows, drop_lock, break_lock, forget_stage, command, fewer_dependencies, code, another_file, link,
    metrics_and_lock, hide, a_second_key,
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_further_ways_to_fool_it(clean, way):
    way(clean)
    refused(clean)


def edited(rng, content: bytes) -> bytes:
    """Change one byte, one line or one number."""
    kind = rng.integers(3)
    if kind == 0:
        place = rng.integers(len(content))
        return content[:place] + bytes([(content[place] + rng.integers(1, 255)) % 256]) + content[place + 1 :]
    lines = content.splitlines(keepends=True)
    if kind == 1:
        place = rng.integers(len(lines))
        return b"".join(lines[:place] + lines[place + 1 :])
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    place = digits[rng.integers(len(digits))]
    digit = b"0123456789".replace(content[place : place + 1], b"")[rng.integers(9)]
    return content[:place] + bytes([digit]) + content[place + 1 :]


def settings_of(project):
    """Return what params.yaml says to the stages, or None where it cannot be read."""
    try:
        content = YAML(typ="safe").load(project.root / "params.yaml")
        return {key: value for key, value in content.items() if key not in ("quality", "other_faces", "tracking")}
    except Exception:
        return None


def test_three_hundred_random_edits(clean):
    """None passes that dvc.lock does not know, and none ends in a traceback."""
    rng = np.random.default_rng(0)
    known = settings_of(clean)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=clean.root,
        env=clean.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    names = (*READ, "params.yaml", "dvc.lock", "dvc.yaml")
    passed = []
    for number in range(300):
        name = names[number % len(names)]
        path = clean.root / name
        before = path.read_bytes()
        path.write_bytes(edited(rng, before))
        process.stdin.write("check\n")
        process.stdin.flush()
        status, said = eval(process.stdout.readline())
        same = settings_of(clean) == known
        now = path.read_bytes()
        path.write_bytes(before)
        assert "Traceback" not in said, (name, said)
        assert status in (0, 1, 2, 3), (name, said)
        if status == 0:
            passed.append(name)
            # an edit that says the same: a comment, a space, a line of record or of an out that is not judged
            assert name not in READ, (name, now)
            assert name != "params.yaml" or same, now
    process.stdin.close()
    process.wait(30)
    assert len(passed) < 100
