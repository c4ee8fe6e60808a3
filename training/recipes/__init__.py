"""Recipes by name. Each is a module whose header says data, protocol, figures, seeds, date and command.

Beside its `RECIPE` a module may have a `SPACE`: what `nextclick tune` tries, by the keys of `--set`, each as a SPEC of
`training.tune.specs`.
"""

from collections.abc import Mapping

from serving.errors import WrongUse
from training.recipes import diginetica, ml1m, ml1m_time, quick, rsc15_100k, serenade_sample, vmis_knn
from training.recipes.overrides import override
from training.recipes.recipe import Recipe

_MODULES = (diginetica, ml1m, ml1m_time, quick, rsc15_100k, serenade_sample, vmis_knn)

RECIPES: dict[str, Recipe] = {module.RECIPE.name: module.RECIPE for module in _MODULES}
SPACES: dict[str, Mapping[str, str]] = {module.RECIPE.name: getattr(module, "SPACE", {}) for module in _MODULES}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        WrongUse: there is none.

    """
    if name not in RECIPES:
        raise WrongUse(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


__all__ = ["RECIPES", "SPACES", "Recipe", "find_recipe", "override"]
