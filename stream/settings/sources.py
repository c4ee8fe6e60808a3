"""Where values come from: defaults < TOML file < NEXTCLICK_* variables < command line; nothing unknown in any."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from stream.errors import SettingsError
from stream.settings.groups import Settings

PREFIX = "NEXTCLICK_"
# For the tests' own switches; never a setting.
RESERVED_PREFIX = "NEXTCLICK_TEST_"
COMMAND_LINE = "the command line"
DEFAULT = "default"


class Setting(NamedTuple):
    """One thing that can be set: `worker.app_id`, by the variable `NEXTCLICK_WORKER__APP_ID`."""

    key: str
    variable: str
    field: FieldInfo

    @property
    def secret(self) -> bool:
        """Whether its value must never be shown."""
        return SecretStr.__name__ in str(self.field.annotation)


class Loaded(NamedTuple):
    """Settings, and for each key where its value came from: `default`, a file, a variable, the command line."""

    settings: Settings
    origins: dict[str, str]


def known_settings() -> dict[str, Setting]:
    """Return every setting by its dotted key, in the order of the documentation."""
    return {key: Setting(key, PREFIX + key.upper().replace(".", "__"), field) for key, field in _leaves(Settings, "")}


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of this process.

    Args:
        config: a TOML file, or None for no file.
        overrides: what the command line says, by dotted key (`{"worker.app_id": "shop"}`) or nested; None values are
            options that were not given.

    Raises:
        SettingsError: a file that cannot be read, an unknown key or variable, or an unusable value.

    """
    return load_with_origins(config, overrides).settings


def load_with_origins(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Like `load_settings`, and say where each value came from."""
    known = known_settings()
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, DEFAULT)
    for key, value in _from_file(config, known).items():
        values[key], origins[key] = value, str(config)
    for key, value in _from_environment(known).items():
        values[key], origins[key] = value, known[key].variable
    for key, value in _flat(overrides or {}).items():
        if value is not None:
            values[key], origins[key] = value, COMMAND_LINE
    _refuse_unknown(values.keys() - known.keys(), COMMAND_LINE, known)
    try:
        return Loaded(Settings(**_nested(values)), origins)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error, known, origins))) from None


def _from_file(config: Path | None, known: Mapping[str, Setting]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        values = _flat(tomllib.loads(config.read_text(encoding="utf-8")))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"the settings file {config} cannot be read ({reason}); name one that exists") from error
    except ValueError as error:
        raise SettingsError(f"the settings file {config} is not TOML ({error}); correct it there") from error
    groups = {key.partition(".")[0] for key in known}
    for key in values.keys() & groups:
        if values[key] == {}:
            del values[key]
            continue
        raise SettingsError(
            f"{key} = {values[key]!r} in {config} should be a table of settings; write [{key}] and its settings below"
        )
    _refuse_unknown(values.keys() - known.keys(), str(config), known)
    return values


def _from_environment(known: Mapping[str, Setting]) -> dict[str, Any]:
    names = {
        name for name in os.environ if name.upper().startswith(PREFIX) and not name.upper().startswith(RESERVED_PREFIX)
    }
    variables = {setting.variable for setting in known.values()}
    for name in sorted(names):
        if name.upper() not in variables:
            raise SettingsError(_unknown_variable(name, sorted(variables)))
    return _flat(EnvSettingsSource(Settings)())


def _unknown_variable(name: str, variables: list[str]) -> str:
    close = difflib.get_close_matches(name.upper(), variables, n=1, cutoff=0.8)
    hint = f"; did you mean {close[0]}?" if close else "; unset it, or use one of the known ones."
    if name.startswith((f"{PREFIX}SERVICE_", f"{PREFIX}PORT")):
        hint = "; Kubernetes sets it for a Service called nextclick: give the pod `enableServiceLinks: false`."
    return f"the variable {name} is no setting{hint} Known: {', '.join(variables)}"


def _refuse_unknown(keys: Iterable[str], source: str, known: Mapping[str, Setting]) -> None:
    for key in sorted(keys):
        group = key.rpartition(".")[0]
        listed = [name for name in known if name.rpartition(".")[0] == group] or list(known)
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
        hint = f"; did you mean {close[0]}?" if close else "; remove it, or use one of the known ones."
        raise SettingsError(f"{key} in {source} is no setting{hint} Known: {', '.join(listed)}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree


def _sentences(error: ValidationError, known: Mapping[str, Setting], origins: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        expected = problem["msg"].removeprefix("Value error, ")
        expected = expected.replace("Input should be", "it should be").replace("String should", "it should")
        setting = known.get(key)
        if setting is None:  # a rule about several settings, which says their names itself
            yield expected
            continue
        value = "(hidden)" if setting.secret else repr(problem["input"])
        yield f"{key} = {value}, from {origins[key]}, cannot be used: {expected}"
