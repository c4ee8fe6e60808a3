"""What a search of a recipe tries: its own `SPACE`, and what the caller adds or replaces."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from serving.errors import WrongUse
from training.models import CONFIGS, kind_of
from training.recipes import Recipe, override
from training.recipes.overrides import parameters, read_value, value_text
from training.tune.specs import Choices, Range, Spec, number_text, parse_spec

Stage = Literal["encoder", "counters"]
Drawn = str | int | float

# Figures of trials that differ in one of these say nothing about which trial is better.
_MEASURED_BY = (
    "protocol",
    "preparation.",
    "exclude",
    "loop.monitor",
    "blend.monitor",
    "blend.k",
    "blend.cases",
)
_OF_COUNTERS = ("counters.", "blend.", "index")


class Draws(Protocol):
    """What values are drawn from: an `optuna.trial.Trial`."""

    def suggest_categorical(self, name: str, choices: tuple[str, ...], /) -> Drawn | bool | None:
        """Draw one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool) -> int:
        """Draw a whole number."""

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool) -> float:
        """Draw a number."""


@dataclass(frozen=True)
class Dimension:
    """One parameter of a space; `whole` says that a range has whole numbers only."""

    key: str
    spec: Spec
    whole: bool = False

    @property
    def stage(self) -> Stage:
        """The part of the search that tries it."""
        return "counters" if self.key.startswith(_OF_COUNTERS) else "encoder"

    def draw(self, draws: Draws) -> Drawn:
        """Draw a value."""
        if isinstance(self.spec, Choices):
            return str(draws.suggest_categorical(self.key, self.spec.texts))
        if self.whole:
            return draws.suggest_int(self.key, int(self.spec.low), int(self.spec.high), log=self.spec.log)
        return draws.suggest_float(self.key, self.spec.low, self.spec.high, log=self.spec.log)

    def own(self, value: object) -> Drawn | None:
        """Return the recipe's own value as if it was drawn, None where the space does not have it."""
        if isinstance(self.spec, Choices):
            return value_text(value) if value_text(value) in self.spec.texts else None
        if isinstance(value, int | float) and self.spec.low <= value <= self.spec.high:
            return value
        return None


@dataclass(frozen=True)
class Space:
    """The dimensions of a search, the encoder's kind first."""

    dimensions: tuple[Dimension, ...]

    def of(self, stage: Stage) -> tuple[Dimension, ...]:
        """Return what one stage tries."""
        return tuple(dimension for dimension in self.dimensions if dimension.stage == stage)

    def specs(self) -> dict[str, str]:
        """Return the SPECs by key."""
        return {dimension.key: str(dimension.spec) for dimension in self.dimensions}

    def own(self, recipe: Recipe, stage: Stage) -> dict[str, Drawn]:
        """Return the recipe's own values of a stage, those that the space has: what a search tries first."""
        values = parameters(recipe)
        if recipe.model is not None:
            values["model"] = kind_of(recipe.model)
        found = {d.key: d.own(values[d.key]) for d in self.of(stage) if d.key in values}
        return {key: value for key, value in found.items() if value is not None}

    def draw(self, draws: Draws, recipe: Recipe, stage: Stage) -> dict[str, Drawn]:
        """Draw a value of each dimension of a stage that the recipe has, with the kind of encoder that is drawn."""
        drawn: dict[str, Drawn] = {}
        for dimension in self.of(stage):
            if dimension.key == "model":
                drawn["model"] = dimension.draw(draws)
                recipe = override(recipe, [f"model={drawn['model']}"])
            elif dimension.key in parameters(recipe):
                drawn[dimension.key] = dimension.draw(draws)
        return drawn


def drawn_text(value: Drawn) -> str:
    """Return a drawn value as `--set` takes it, numbers with four digits: nobody tunes finer, and it can be read."""
    return number_text(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


def build_space(recipe: Recipe, own: Mapping[str, str], searched: Iterable[str], fixed: Iterable[str]) -> Space:
    """Put a space together.

    Args:
        recipe: with all that is set.
        own: the recipe's `SPACE`; what the recipe does not have (another encoder was set) is passed over.
        searched: `KEY=SPEC`, which add to it or replace an entry.
        fixed: keys that are set, which are not searched.

    Raises:
        WrongUse: a key that there is not, that is set as well, or that decides what is measured or nothing at all; a
            SPEC that is none or does not fit its parameter; or nothing is left to search.

    """
    asked = dict(_asked(assignment) for assignment in searched)
    fixed = set(fixed)
    if both := sorted(asked.keys() & fixed):
        raise WrongUse(f"{both[0]} is set and searched: leave out --set {both[0]} or --search {both[0]}")
    if "counters" in fixed:  # by number, the recipe's own entries are of other counters
        own = {key: spec for key, spec in own.items() if not key.startswith("counters.")}
    texts = {key: spec for key, spec in own.items() if key not in fixed} | asked
    kinds = _kinds(recipe, texts.get("model"))
    known = {key for other in kinds for key in parameters(other)} | {"model"}
    dimensions = [
        _dimension(kinds, key, texts[key])
        for key in sorted(texts, key=lambda key: key != "model")
        if key in asked or (key in known and _decides(recipe, key))
    ]
    if not dimensions:
        raise WrongUse(f"recipe {recipe.name} has no space of its own: name what to try, such as {_EXAMPLE}")
    return Space(tuple(dimensions))


_EXAMPLE = "--search optimizer.learning_rate=1e-3..1e-2:log"


def _asked(assignment: str) -> tuple[str, str]:
    key, equals, spec = assignment.partition("=")
    if not equals:
        raise WrongUse(f"--search {assignment} has no SPEC: write --search KEY=SPEC, such as {_EXAMPLE}")
    return key.strip(), spec.strip()


def _kinds(recipe: Recipe, spec: str | None) -> list[Recipe]:
    """Return the recipe with each kind of encoder that is tried."""
    if spec is None:
        return [recipe]
    if recipe.model is None:
        raise WrongUse(f"--search model={spec}: recipe {recipe.name} has no encoder; give it one with --set model=KIND")
    chosen = parse_spec(spec)
    if not isinstance(chosen, Choices) or "none" in chosen.texts:
        raise WrongUse(f"--search model={spec} names no encoders: write some of {', '.join(CONFIGS)}, with | between")
    return [override(recipe, [f"model={kind}"]) for kind in chosen.texts]


def _dimension(kinds: list[Recipe], key: str, text: str) -> Dimension:
    if key == "model":
        return Dimension(key, parse_spec(text))
    if key == "counters":
        raise WrongUse(
            f"--search {key}={text}: name counters with --set, and search their parameters, as counters.0.KEY"
        )
    recipe = next((recipe for recipe in kinds if key in parameters(recipe)), kinds[0])
    try:
        spec = parse_spec(text)
        values = [read_value(recipe, key, value) for value in _values(spec)]
    except WrongUse as error:
        raise WrongUse(f"--search {key}={text}: {error}") from error
    if key.startswith(_MEASURED_BY):
        raise WrongUse(f"--search {key}: trials that differ in it cannot be compared; give it one value with --set")
    if not _decides(recipe, key):
        side = "encoder" if recipe.model is None else "counters"
        raise WrongUse(f"--search {key}: recipe {recipe.name} has no {side}, so it changes no figure")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if isinstance(spec, Range) and not numbers:
        raise WrongUse(f"--search {key}={text}: {key} is no number; list what to try, with | between")
    return Dimension(key, spec, whole=all(isinstance(value, int) for value in values))


def _values(spec: Spec) -> list[str]:
    return list(spec.texts) if isinstance(spec, Choices) else [number_text(spec.low), number_text(spec.high)]


def _decides(recipe: Recipe, key: str) -> bool:
    """Tell whether the recipe has the side that a parameter belongs to."""
    return bool(recipe.counters) if Dimension(key, Choices(())).stage == "counters" else recipe.model is not None
