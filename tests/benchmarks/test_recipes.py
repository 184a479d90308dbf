"""The recipes of docs/trainer.md are settings that exist."""

from pathlib import Path

import pytest
import yaml

from pgcn import make_settings

RECIPES = yaml.safe_load((Path(__file__).parents[2] / "benchmarks" / "recipes.yaml").read_text())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_a_preset_with_settings_changed(recipe):
    changes = dict(RECIPES[recipe])
    make_settings(changes.pop("preset"), changes)
