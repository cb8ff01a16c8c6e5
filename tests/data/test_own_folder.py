"""Cases I11 and I13 through real DVC: a table of groups that changes divides again; data.seed draws other images."""

import csv

import pytest

from project import SETTINGS, Project


def column(path, name):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row[name] for row in csv.DictReader(file)}


def write_groups(project, size):
    paths = sorted(path.relative_to(project.root / "pictures") for path in (project.root / "pictures").rglob("*.png"))
    rows = [f"{path.as_posix()},{number // size}\n" for number, path in enumerate(paths)]
    (project.root / "pictures" / "groups.csv").write_text("path,group\n" + "".join(rows))


@pytest.mark.slow
def test_a_changed_table_of_groups_divides_again(tmp_path, rng):
    project = Project(tmp_path, rng, {**SETTINGS, "split": {"val": 0.25, "group": "groups.csv"}})
    for size in (2, 4):
        write_groups(project, size)
        done = project.run("dvc", "repro", "split")
        assert f"{48 // size} groups of 48 images by split.group" in done.stdout
        groups = column(tmp_path / "pictures" / "groups.csv", "group")
        parts = column(tmp_path / "data" / "split.csv", "split")
        assert len({(groups[path], part) for path, part in parts.items()}) == 48 // size
        assert set(parts.values()) == {"train", "val", "test"}
    assert "didn't change, skipping" in project.run("dvc", "repro", "split").stdout


@pytest.mark.slow
def test_the_seed_of_the_draw_is_a_setting_of_fetch(tmp_path, rng):
    project = Project(tmp_path, rng, {"data": {"source": "folder", "path": "pictures", "per_class": 5}})
    drawn = []
    for seed in (0, 1):
        project.change("data.seed", seed)
        project.run("dvc", "repro", "fetch")
        drawn.append(set(column(tmp_path / "data" / "images.csv", "label")))
    assert [len(names) for names in drawn] == [10, 10]
    assert drawn[0] != drawn[1]
