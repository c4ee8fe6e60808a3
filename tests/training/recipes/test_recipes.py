import importlib
import json

import pytest

from serving.errors import WrongUse
from training.models import GRUConfig, LSTMConfig
from training.recipes import RECIPES, find_recipe, override
from training.recipes.overrides import parameters


def test_a_recipe_is_found_by_its_name() -> None:
    assert find_recipe("quick").name == "quick"
    with pytest.raises(WrongUse, match="there is no recipe 'quik'; there are quick, rsc15_100k, serenade_sample"):
        find_recipe("quik")


@pytest.mark.parametrize("name", RECIPES)
def test_a_header_says_how_the_figures_were_made(name: str) -> None:
    header = importlib.import_module(f"training.recipes.{name}").__doc__
    assert header is not None
    for word in ("data ", "protocol ", "figures ", "verified ", "command ", f"nextclick train {name} "):
        assert word in header


@pytest.mark.parametrize("name", RECIPES)
def test_parameters_are_json(name: str) -> None:
    assert json.loads(json.dumps(RECIPES[name].parameters())) == RECIPES[name].parameters()


def test_values_are_read_by_the_type_of_their_parameter() -> None:
    recipe = override(
        find_recipe("quick"),
        [
            "model.dim=64",
            "model.temperature=none",
            "model.tied=false",
            "optimizer.learning_rate=1e-3",
            "optimizer.kind=sgd",
            "exclude=none",
            "window = 30",
            "preparation.session_gap_s=none",
        ],
    )
    assert recipe.model == GRUConfig(
        dim=64, hidden=recipe.model.hidden, dropout=recipe.model.dropout, temperature=None, tied=False
    )
    assert (recipe.optimizer.learning_rate, recipe.optimizer.kind) == (1e-3, "sgd")
    assert (recipe.exclude, recipe.window, recipe.preparation.session_gap_s) == ("none", 30, None)


def test_a_session_gap_may_be_a_number_too() -> None:
    assert override(find_recipe("quick"), ["preparation.session_gap_s=60"]).preparation.session_gap_s == 60


def test_another_model_keeps_the_values_that_both_have() -> None:
    recipe = override(find_recipe("quick"), ["model.hidden=48", "model=lstm", "model.layers=2"])
    assert isinstance(recipe.model, LSTMConfig)
    assert (recipe.model.hidden, recipe.model.layers) == (48, 2)


def test_every_parameter_can_be_set_to_what_it_is() -> None:
    recipe = find_recipe("quick")
    assignments = [f"{key}={'none' if value is None else str(value)}" for key, value in parameters(recipe).items()]
    assert override(recipe, assignments) == recipe


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.dimm=3", r"has no parameter 'model\.dimm'; it has model=gru\|lstm\|.*model\.dim=\d+, .*index=Flat"),
        ("name=other", "has no parameter 'name'"),
        ("loop=3", "has no parameter 'loop'"),
        ("model=bert", "there is no model 'bert'; there are gru, lstm"),
        ("model.dim", r"--set model\.dim has no value"),
        ("model.dim=wide", r"--set model\.dim=wide: Expected `int`"),
        ("model.dim=none", r"--set model\.dim=none: Expected `int`"),
        ("model.dim=0", "dim must be at least 1, not 0"),
        ("optimizer.kind=lion", r"--set optimizer\.kind=lion: Invalid enum value 'lion'"),
        ("window=1", "window must be at least 2, not 1"),
    ],
)
def test_a_wrong_assignment_is_a_sentence(assignment: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        override(find_recipe("quick"), [assignment])
