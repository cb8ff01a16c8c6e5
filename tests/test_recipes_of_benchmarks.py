"""benchmarks/recipes.yaml: every recipe is one of valid settings, and what pages and Makefile say of them holds."""

import re

import pytest
from ruamel.yaml import YAML

from conftest import REPOSITORY
from layershap.choosing.spaces import with_settings
from layershap.workspace.params import check_params, load_params, read_yaml

RECIPES = read_yaml(REPOSITORY / "benchmarks" / "recipes.yaml")
DEFAULT = load_params(REPOSITORY / "params.yaml").model_dump()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_of_valid_settings(name):
    check_params(with_settings(DEFAULT, RECIPES[name]), name)


def test_the_default_is_what_was_chosen():
    assert with_settings(DEFAULT, RECIPES["three layers, six epochs"]) == DEFAULT


def test_make_paper_has_the_frozen_recipe():
    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    listed = re.search(r"^PAPER := (.*)$", text, flags=re.M)[1]
    changes = {name: YAML(typ="safe").load(value) for name, value in (pair.split("=") for pair in listed.split())}
    assert with_settings(DEFAULT, changes) == with_settings(DEFAULT, RECIPES["frozen, Dense 64"])
