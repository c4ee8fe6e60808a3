"""Recipes by name. Each is a module whose header says data, protocol, figures, seeds, date and command."""

from serving.errors import WrongUse
from training.recipes import diginetica, ml1m, quick, rsc15_100k, serenade_sample
from training.recipes.overrides import override
from training.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE for module in (diginetica, ml1m, quick, rsc15_100k, serenade_sample)
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        WrongUse: there is none.

    """
    if name not in RECIPES:
        raise WrongUse(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


__all__ = ["RECIPES", "Recipe", "find_recipe", "override"]
