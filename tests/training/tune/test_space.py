import dataclasses
from pathlib import Path

import optuna
import pytest

from serving.errors import WrongUse
from tests.docs.blocks import ROOT
from training.counters import PopularityConfig, SessionKnnConfig
from training.models import GRUConfig
from training.recipes import SPACES, Recipe, find_recipe, override
from training.recipes.overrides import value_text
from training.tune import build_space
from training.tune.specs import parse_spec

COUNTERS = Recipe(name="counters", counters=(PopularityConfig(), SessionKnnConfig()))
BOTH = dataclasses.replace(COUNTERS, name="both", model=GRUConfig(dim=16))


def _drawn(recipe: Recipe, searched: list[str], **params: object) -> dict[str, object]:
    space = build_space(recipe, {}, searched, [])
    return dict(space.draw(optuna.trial.FixedTrial(params), recipe, "encoder"))


@pytest.mark.parametrize("name", [name for name, space in SPACES.items() if space])
def test_a_recipes_own_space_has_its_own_values_and_every_end_is_a_recipe(name: str) -> None:
    recipe, own = find_recipe(name), SPACES[name]
    space = build_space(recipe, own, [], [])
    assert list(space.specs()) == list(own)
    assert {key: parse_spec(text) for key, text in space.specs().items()} == {
        key: parse_spec(text) for key, text in own.items()
    }
    assert space.own(recipe, "encoder").keys() | space.own(recipe, "counters").keys() == own.keys()
    for key, text in own.items():
        for value in text.removesuffix(":log").replace("..", "|").split("|"):
            override(recipe, [f"{key}={value}"])


def test_the_page_shows_every_space_as_it_is() -> None:
    page = Path(ROOT / "docs" / "training.md").read_text()
    for name, space in SPACES.items():
        for key, text in space.items():
            shown = text.replace("|", r"\|")
            assert f"| `{name}` | `{key}` | `{shown}` |" in page


def test_what_is_asked_for_replaces_and_adds_and_what_is_set_is_not_searched() -> None:
    own = {"model.dim": "16|32", "model.dropout": "0..0.5", "loss.alpha": "0..1"}
    space = build_space(BOTH, own, ["model.dim=8..64:log", "counters.1.window = 5|9", "model=gru|core"], ["loss.alpha"])
    assert space.specs() == {
        "model": "gru|core",
        "model.dim": "8..64:log",
        "model.dropout": "0..0.5",
        "counters.1.window": "5|9",
    }
    assert [d.key for d in space.of("counters")] == ["counters.1.window"]


def test_own_entries_of_counters_are_not_for_those_that_are_named_instead() -> None:
    own = {"model.dim": "16|32", "counters.1.window": "5|9"}
    recipe = override(BOTH, ["counters=popularity,session-knn"])
    assert build_space(recipe, own, [], ["counters"]).specs() == {"model.dim": "16|32"}
    assert build_space(recipe, own, ["counters.1.window=3|4"], ["counters"]).of("counters")
    with pytest.raises(WrongUse, match=r"name counters with --set, and search their parameters, as counters\.0\.KEY"):
        build_space(recipe, own, ["counters=popularity|item-knn"], [])


def test_an_own_entry_that_another_encoder_does_not_have_is_passed_over() -> None:
    recipe = override(BOTH, ["model=core"])
    assert build_space(recipe, {"model.hidden": "8|16", "model.dim": "8|16"}, [], []).specs() == {"model.dim": "8|16"}


def test_the_encoder_that_is_drawn_decides_what_else_is() -> None:
    searched = ["model.hidden=8|16", "model.item_dropout=0..0.5", "model=gru|core"]
    assert _drawn(BOTH, searched, **{"model": "gru", "model.hidden": "8"}) == {"model": "gru", "model.hidden": "8"}
    values = {"model": "core", "model.item_dropout": 0.25}
    assert _drawn(BOTH, searched, **values) == values


def test_whole_numbers_are_drawn_for_whole_parameters_only() -> None:
    space = build_space(BOTH, {}, ["model.dim=8..64", "model.dropout=0..0.9", "counters.0.half_life_days=1..30"], [])
    assert {d.key: d.whole for d in space.dimensions} == {
        "model.dim": True,
        "model.dropout": False,
        "counters.0.half_life_days": False,
    }


def test_the_recipes_own_values_are_those_that_the_space_has() -> None:
    searched = ["model.dim=8..64", "model.dropout=0.4..0.5", "model=gru|core", "model.temperature=none|0.07"]
    space = build_space(BOTH, {}, searched, [])
    assert space.own(BOTH, "encoder") == {"model": "gru", "model.dim": 16, "model.temperature": "0.07"}
    assert value_text(None) == "none"


@pytest.mark.parametrize(
    ("searched", "message"),
    [
        ("model.dim", r"--search model\.dim has no SPEC: write --search KEY=SPEC, such as"),
        ("model.dimm=1..2", r"recipe both has no parameter 'model\.dimm'; it has model=gru\|lstm.*model\.dim=16"),
        ("counters.2.window=1..2", r"no parameter 'counters\.2\.window'; .* counters\.1\.window=9"),
        ("model.dim=64", r"--search model\.dim=64: '64' has nothing to choose from"),
        ("model.dim=1.5..8", r"--search model\.dim=1\.5\.\.8: --set model\.dim=1\.5: Expected `int`"),
        ("model.dim=8|wide", "Expected `int`"),
        ("model.tied=0..1", r"model\.tied is no number; list what to try"),
        ("index=0..1", "index is no number"),
        ("optimizer.kind=adam|lion", "Invalid enum value 'lion'"),
        ("model=gru|bert", "there is no model 'bert'; there are gru, lstm"),
        ("model=gru|none", r"--search model=gru\|none names no encoders: write some of gru, lstm"),
        ("model=1..2", "names no encoders"),
        ("exclude=none|seen", "--search exclude: trials that differ in it cannot be compared; give it one value"),
        ("blend.k=10|20", "cannot be compared"),
        ("preparation.min_item_support=1|5", "cannot be compared"),
    ],
)
def test_a_search_that_cannot_be_is_a_sentence(searched: str, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        build_space(BOTH, {}, [searched], [])


def test_a_side_that_the_recipe_does_not_have_is_not_searched() -> None:
    with pytest.raises(WrongUse, match="recipe counters has no encoder, so it changes no figure"):
        build_space(COUNTERS, {}, ["loss.alpha=0..1"], [])
    with pytest.raises(WrongUse, match="recipe quick has no counters, so it changes no figure"):
        build_space(find_recipe("quick"), {}, ["blend.candidates=100|500"], [])
    with pytest.raises(WrongUse, match="recipe counters has no encoder; give it one with --set model=KIND"):
        build_space(COUNTERS, {}, ["model=gru|core"], [])


def test_a_key_cannot_be_set_and_searched() -> None:
    with pytest.raises(WrongUse, match=r"model\.dim is set and searched: leave out --set model\.dim or"):
        build_space(BOTH, {}, ["model.dim=8..64"], ["model.dim"])


def test_nothing_to_search_is_a_sentence() -> None:
    with pytest.raises(WrongUse, match="recipe both has no space of its own: name what to try, such as --search opt"):
        build_space(BOTH, {}, [], [])
