import importlib
import json
from dataclasses import replace

import pytest

from serving.errors import WrongUse
from training.blend import BlendConfig
from training.counters import COUNTERS, ItemKnnConfig, PopularityConfig, SequentialRulesConfig
from training.models import GRUConfig, HSTUConfig, LiGRConfig, LSTMConfig, SASRecConfig
from training.recipes import RECIPES, Recipe, find_recipe, override
from training.recipes.overrides import parameters

RULES = SequentialRulesConfig(window=5)
BLEND = Recipe(name="blend", model=GRUConfig(), counters=(RULES, PopularityConfig()))


def test_a_recipe_is_found_by_its_name() -> None:
    assert find_recipe("quick").name == "quick"
    with pytest.raises(WrongUse, match=f"there is no recipe 'quik'; there are {', '.join(RECIPES)}$"):
        find_recipe("quik")


@pytest.mark.parametrize("name", RECIPES)
def test_a_header_says_how_the_figures_were_made(name: str) -> None:
    header = importlib.import_module(f"training.recipes.{name}").__doc__
    assert header is not None
    words = ["data ", "protocol ", "figures ", "verified ", "command ", f"nextclick train {name} "]
    for word in words + ["seeds "] * (RECIPES[name].model is not None):
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
    before = find_recipe("quick").model
    assert isinstance(before, GRUConfig)
    assert recipe.model == replace(before, dim=64, temperature=None, tied=False)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.kind) == (1e-3, "sgd")
    assert (recipe.exclude, recipe.window, recipe.preparation.session_gap_s) == ("none", 30, None)


def test_a_session_gap_may_be_a_number_too() -> None:
    assert override(find_recipe("quick"), ["preparation.session_gap_s=60"]).preparation.session_gap_s == 60


def test_another_model_keeps_the_values_that_both_have() -> None:
    recipe = override(find_recipe("quick"), ["model.hidden=48", "model=lstm", "model.layers=2"])
    assert isinstance(recipe.model, LSTMConfig)
    assert (recipe.model.hidden, recipe.model.layers) == (48, 2)


def test_a_counter_is_changed_by_its_place() -> None:
    changed = override(BLEND, ["counters.0.window=20", "counters.1.half_life_days=2.5", "blend.candidates=40"])
    assert changed == replace(
        BLEND,
        counters=(replace(RULES, window=20), PopularityConfig(half_life_days=2.5)),
        blend=BlendConfig(candidates=40),
    )


def test_counters_are_named_and_theirs_are_set_whatever_the_order() -> None:
    named, key = "counters=popularity,item-knn,item-knn", "counters.2.alpha=0.9"
    expected = (PopularityConfig(), ItemKnnConfig(), ItemKnnConfig(alpha=0.9))
    for assignments in (
        [named, key],
        [key, named],
        ["counters=none", key, "model=gru", "counters = popularity", named],
    ):
        assert override(BLEND, assignments) == replace(BLEND, counters=expected)
    for name, config in COUNTERS.items():
        assert override(find_recipe("vmis_knn"), [f"counters={name}"]).counters == (config(),)


@pytest.mark.parametrize("nothing", ["none", "", "None"])
def test_counters_can_be_taken_away(nothing: str) -> None:
    assert override(BLEND, [f"counters={nothing}"]) == replace(BLEND, counters=())
    assert override(find_recipe("vmis_knn"), ["model=gru", f"counters={nothing}"]).model == GRUConfig()
    with pytest.raises(WrongUse, match=r"has no parameter 'counters\.0\.window'"):
        override(BLEND, ["counters.0.window=3", f"counters={nothing}"])
    with pytest.raises(WrongUse, match="recipe vmis_knn has neither model nor counters: name one of them, before"):
        override(find_recipe("vmis_knn"), [f"counters={nothing}"])


def test_without_a_model_the_counters_are_left() -> None:
    alone = override(BLEND, ["model=none"])
    assert (alone.model, alone.counters) == (None, BLEND.counters)
    assert not [key for key in parameters(alone) if key.startswith("model")]
    again = override(alone, ["model=gru", "model.dim=24"])
    assert again.model == GRUConfig(dim=24)
    with pytest.raises(WrongUse, match="recipe encoder has neither model nor counters"):
        override(replace(BLEND, name="encoder", counters=()), ["model=none"])


@pytest.mark.parametrize("before", ["gru", "none"])
def test_an_attention_model_has_places_for_the_recipes_window(before: str) -> None:
    recipe = override(BLEND, [f"model={before}", "window=80", "model=sasrec", "model.blocks=3"])
    assert isinstance(recipe.model, SASRecConfig)
    assert (recipe.model.window, recipe.model.blocks) == (80, 3)
    # Another one keeps the places that there are.
    other = override(recipe, ["model.window=90", "window=85", "model=ligr"])
    assert isinstance(other.model, LiGRConfig)
    assert (other.model.window, other.model.blocks, other.window) == (90, 3, 85)
    with pytest.raises(WrongUse, match=r"window 91 is longer than the 90 events .* set model\.window=91"):
        override(other, ["window=91"])


def test_a_model_that_reads_the_querys_time_is_not_blended() -> None:
    with pytest.raises(WrongUse, match=r"recipe blend blends counters .* set model\.time_of=last, or leave"):
        override(BLEND, ["model=hstu", "model.time_of=query"])
    assert override(BLEND, ["model=hstu", "model.time_of=last"]).counters == BLEND.counters
    alone = override(replace(BLEND, counters=()), ["model=hstu", "model.time_of=query"])
    assert isinstance(alone.model, HSTUConfig)
    assert alone.model.time_of == "query"


@pytest.mark.parametrize("recipe", [BLEND, *RECIPES.values()], ids=lambda recipe: recipe.name)
def test_every_parameter_can_be_set_to_what_it_is(recipe: Recipe) -> None:
    assignments = [f"{key}={'none' if value is None else str(value)}" for key, value in parameters(recipe).items()]
    assert override(recipe, assignments) == recipe


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "model.dimm=3",
            r"has no parameter 'model\.dimm'; it has model=gru\|lstm.*\|none, .*model\.dim=\d+, .*index=Flat",
        ),
        ("name=other", "has no parameter 'name'"),
        ("counters.2.window=3", r"has no parameter 'counters\.2\.window'; it has .*counters\.0\.window=5"),
        ("counters.window=3", r"has no parameter 'counters\.window'"),
        (
            "counters.2.window=3",
            r"it has model=gru.*\|none, counters=popularity,sequential-rules,item-knn,session-knn\|none \(some of them",
        ),
        (
            "counters=knn",
            "there is no counter 'knn'; there are popularity, sequential-rules, item-knn, session-knn, and",
        ),
        ("counters=item-knn,", "there is no counter ''; there are"),
        ("counters.0.window=0", "window must be from 1 to 400, not 0"),
        ("counters.0.decay=none", r"--set counters\.0\.decay=none: Expected `float`"),
        ("loop=3", "has no parameter 'loop'"),
        ("model=bert", "there is no model 'bert'; there are gru, lstm"),
        ("model.dim", r"--set model\.dim has no value"),
        ("model.dim=wide", r"--set model\.dim=wide: Expected `int`"),
        ("model.dim=none", r"--set model\.dim=none: Expected `int`"),
        ("model.dim=0", "dim must be at least 1, not 0"),
        ("optimizer.kind=lion", r"--set optimizer\.kind=lion: Invalid enum value 'lion'"),
        ("window=1", "window must be from 2 to 400, not 1"),
        ("window=401", "window must be from 2 to 400, not 401"),
        ("counters.0.window=401", "window must be from 1 to 400, not 401"),
        ("optimizer.learning_rate=inf", r"--set optimizer\.learning_rate=inf: no finite number"),
        ("model.temperature=nan", r"--set model\.temperature=nan: no finite number"),
    ],
)
def test_a_wrong_assignment_is_a_sentence(assignment: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        override(BLEND, [assignment])
