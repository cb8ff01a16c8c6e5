"""`layershap backbones`: the list of names."""

import pytest
from click.testing import CliRunner

from conftest import REPOSITORY
from layershap.cli import cli
from layershap.model.networks import check_name
from layershap.stages.backbones import MOST_CUT, matching, parameters, row_of
from layershap.workspace.errors import InputError


def listed(monkeypatch, *arguments) -> str:
    monkeypatch.chdir(REPOSITORY)
    done = CliRunner().invoke(cli, ["backbones", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_names_with_parameters_size_and_layers(monkeypatch):
    lines = listed(monkeypatch, "timm/convnext_att*").splitlines()
    (line,) = [line for line in lines if " timm/convnext_atto " in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["timm/convnext_atto", "3.7", "224", "16"]
    with pytest.raises(InputError, match="no network's name fits 'nosuch'"):
        listed(monkeypatch, "nosuch")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("resnet18", ["resnet18", "timm/resnet18", "timm/seresnet18"]),
        ("resnet1?", ["resnet18"]),
        ("timm/convnext_tiny.in12k*", ["timm/convnext_tiny.in12k_ft_in1k"]),
        ("lite1", ["efficientnet_lite1", "timm/tf_efficientnet_lite1"]),
    ],
)
def test_a_pattern_is_a_part_of_a_name_or_fits_it_whole(pattern, expected):
    found = matching(pattern)
    assert set(expected) <= set(found)
    assert len(set(found)) == len(found)
    for name in found:
        check_name(name)


def test_parameters_are_counted_without_building():
    assert parameters("resnet50") == 25_557_032
    assert parameters("efficientnet_lite0") == parameters("timm/tf_efficientnet_lite0")


def test_layers_are_counted_where_few_names_fit():
    assert row_of("resnet50", MOST_CUT).layers == "18"
    assert row_of("resnet50", MOST_CUT + 1).layers == ""
