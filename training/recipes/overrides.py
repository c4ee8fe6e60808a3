"""`--set key=value`: another value for one parameter of a recipe."""

import math
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import msgspec

from serving.errors import WrongUse
from training.counters import COUNTERS, CounterConfig
from training.models import CONFIGS
from training.recipes.recipe import Recipe


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Return the recipe with each `key=value` applied in turn, such as `model.dim=64`; `model=lstm` changes the kind.

    `counters=popularity,item-knn` names all counters, each as its configuration is by default; what is set of one, such
    as `counters.1.alpha=0.9`, is applied after all else, for its number is among those that are named at last.

    Raises:
        WrongUse: no such key (the known ones are listed), or a value that does not fit it.

    """
    parted = [_parted(assignment) for assignment in assignments]
    for key, text in sorted(parted, key=lambda pair: pair[0].startswith("counters.")):
        recipe = _assigned(recipe, key, text)
    return recipe


def _parted(assignment: str) -> tuple[str, str]:
    key, equals, text = assignment.partition("=")
    if not equals:
        raise WrongUse(f"--set {assignment} has no value: write --set key=value, such as --set model.dim=64")
    return key.strip(), text.strip()


def parameters(recipe: Recipe) -> dict[str, Any]:
    """Return what `override` can change in this recipe, by key."""
    return {key: value for key, value in _leaves(recipe) if key != "name"}


def read_value(recipe: Recipe, key: str, text: str) -> Any:
    """Return the text as this parameter's value, without asking whether it fits the other ones; not for `model`.

    Raises:
        WrongUse: no such key (the known ones are listed), or a value of another type.

    """
    _check_known(recipe, key)
    owner: Any = recipe
    *path, name = key.split(".")
    for part in path:
        owner = owner[int(part)] if isinstance(owner, tuple) else getattr(owner, part)
    return _value(key, text, get_type_hints(type(owner))[name])


def value_text(value: Any) -> str:
    """Return a parameter's value as `--set` takes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _assigned(recipe: Recipe, key: str, text: str) -> Recipe:
    if key == "model":
        return replace(recipe, model=_other_model(recipe, text))
    if key == "counters":
        return replace(recipe, counters=_other_counters(text))
    _check_known(recipe, key)
    changed: Recipe = _with(recipe, key.split("."), key, text)
    return changed


def _check_known(recipe: Recipe, key: str) -> None:
    known = parameters(recipe)
    if key not in known:
        listed = ", ".join(f"{name}={value_text(value)}" for name, value in known.items())
        raise WrongUse(
            f"recipe {recipe.name} has no parameter {key!r}; it has model={'|'.join(CONFIGS)}|none, "
            f"counters={','.join(COUNTERS)}|none (some of them, whose parameters are counters.0 and so on), {listed}"
        )


def _with(owner: Any, path: list[str], key: str, text: str) -> Any:
    """Return a dataclass, or a tuple of them, with the value at the end of the path replaced."""
    name, rest = path[0], path[1:]
    if isinstance(owner, tuple):
        place = int(name)
        return (*owner[:place], _with(owner[place], rest, key, text), *owner[place + 1 :])
    if rest:
        return replace(owner, **{name: _with(getattr(owner, name), rest, key, text)})
    return replace(owner, **{name: _value(key, text, get_type_hints(type(owner))[name])})


def _other_model(recipe: Recipe, kind: str) -> Any:
    """Return the configuration of another encoder, with the values that both have in common; none takes it away."""
    if kind == "none":
        return None
    if kind not in CONFIGS:
        raise WrongUse(f"there is no model {kind!r}; there are {', '.join(CONFIGS)}, and none for counters alone")
    known = {f.name for f in fields(CONFIGS[kind])}
    values: dict[str, Any] = {"window": recipe.window} if "window" in known else {}
    if recipe.model is not None:
        values |= {f.name: getattr(recipe.model, f.name) for f in fields(recipe.model) if f.name in known}
    return CONFIGS[kind](**values)


def _other_counters(text: str) -> tuple[CounterConfig, ...]:
    """Return the configurations of counters by their names, each as it is by default; none takes all away."""
    if text.lower() in ("", "none"):
        return ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COUNTERS:
            raise WrongUse(
                f"there is no counter {name!r}; there are {', '.join(COUNTERS)}, and none for an encoder alone"
            )
    return tuple(COUNTERS[name]() for name in names)


def _value(key: str, text: str, wanted: Any) -> Any:
    """Return the text as a value of the wanted type; `none` is None where it is no name of its own."""
    try:
        value = msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        if text.lower() == "none" and type(None) in get_args(wanted):
            return None
        raise WrongUse(f"--set {key}={text}: {error}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongUse(f"--set {key}={text}: no finite number; give one, or none where nothing may be said")
    return value


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    named: Iterable[tuple[str, Any]] = (
        ((str(place), inner) for place, inner in enumerate(value))
        if isinstance(value, tuple)
        else ((field.name, getattr(value, field.name)) for field in fields(value))
    )
    leaves: list[tuple[str, Any]] = []
    for name, inner in named:
        key = prefix + name
        if is_dataclass(inner) or isinstance(inner, tuple):
            leaves += _leaves(inner, f"{key}.")
        elif key != "model":  # no encoder: nothing of it can be set
            leaves.append((key, inner))
    return leaves
