"""docs/configuration.md, from the models of the settings."""

from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.settings import Setting, Settings, known_settings

INTRODUCTION = """\
# Configuration

<!-- Made from stream/settings by `make docs`; a test compares them. -->

A process builds one set of settings when it starts. Each value comes from the last of these that names it:

1. the default below;
2. a TOML file, `nextclick --config shop.toml ...`;
3. an environment variable;
4. an option of the command.

`nextclick config show` prints every setting with its value and where it came from. The variable of a setting is
`NEXTCLICK_`, its group, two underscores and its name, in capitals: `worker.app_id` is `NEXTCLICK_WORKER__APP_ID`. In a
file:

```toml
[worker]
app_id = "shop"

[topics]
partitions = 12
```

An unknown key or variable is an error that lists the known ones, so that a misspelt one never passes for a default. An
empty variable is an unset one. `NEXTCLICK_TEST_*` is reserved for the tests. Kubernetes sets `NEXTCLICK_SERVICE_*` for
a Service called nextclick: give the pod `enableServiceLinks: false`. Passwords and tokens are shown as `**********` and
are never logged. Relative paths start at the working directory, `~` is the home directory.
"""

UNITS = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_events": "events", "_lag": "clicks"}
TYPE_NAMES: dict[Any, str] = {int: "integer", float: "number", str: "text", Path: "path", SecretStr: "secret"}


def configuration_page() -> str:
    """Return the page: one table for each group of settings."""
    parts = [INTRODUCTION.rstrip()]
    settings = known_settings()
    for group, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        parts.append(f"\n## {group}\n\n{model.__doc__}\n")
        parts.append("| setting, variable | type | default | unit | what it does |\n|---|---|---|---|---|")
        parts += [_row(setting) for key, setting in settings.items() if key.startswith(f"{group}.")]
    return "\n".join(parts) + "\n"


def _row(setting: Setting) -> str:
    field = setting.field
    default = "" if field.default is None else f"`{field.default}`"
    unit = next((unit for suffix, unit in UNITS.items() if setting.key.endswith(suffix)), "")
    cells = [
        f"`{setting.key}`<br>`{setting.variable}`",
        _type(field),
        default,
        unit,
        " ".join((field.description or "").split()).removesuffix(f" {unit.capitalize()}."),
    ]
    return "| " + " | ".join(cells) + " |"


def _type(field: FieldInfo) -> str:
    choices = [part for part in get_args(field.annotation) if part is not type(None)]
    optional = len(choices) != len(get_args(field.annotation))
    annotation = choices[0] if optional else field.annotation
    text = TYPE_NAMES.get(_plain(annotation)) or ", ".join(f"`{choice}`" for choice in get_args(annotation))
    limits = [text, *_limits(field)]
    return ", ".join(limits) + (", or unset" if optional else "")


def _plain(annotation: Any) -> Any:
    """Return the type inside `Annotated`."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else get_origin(annotation) or annotation


def _limits(field: FieldInfo) -> list[str]:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return [
        f"{word} {getattr(limit, name)}"
        for limit in field.metadata
        for name, word in words.items()
        if getattr(limit, name, None) is not None
    ]
