"""docs/events.md: prose by hand, with marked parts that come from the code.

A marked part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from deploy.reference import examples
from serving.events import Click, Reason, Recommendation, RecommendedItem
from stream.contract import reasons


def events_page(text: str) -> str:
    """Return the page with its marked parts made anew; `KeyError` for a mark that nothing makes."""

    def made(match: re.Match[str]) -> str:
        return f"<!-- made: {match[1]} -->\n{PARTS[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- made: (.+?) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def _fields(event: type[msgspec.Struct]) -> str:
    """Return a table of the fields, from the JSON Schema of the event."""
    _, components = msgspec.json.schema_components([event])
    schema = components[event.__name__]
    lines = ["| field | type | |", "|---|---|---|"]
    for name, described in schema["properties"].items():
        # Optional fields are `anyOf` the real type and null; a reference is a table of its own.
        field = next((part for part in described.get("anyOf", []) if part.get("type") != "null"), described)
        needed = "" if name in schema["required"] else ", optional"
        lines.append(f"| `{name}` | {_type(field)}{needed} | {field.get('description', '')} |")
    return "\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"[{field['$ref'].rpartition('/')[2]}](#the-fields-of-an-item)"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    limits = {
        "string": f", {field.get('minLength')} to {field.get('maxLength')} characters" if "maxLength" in field else "",
        "integer": f", {field['minimum']} or more" if "minimum" in field else "",
    }
    return f"{field['type']}{limits.get(field['type'], '')}"


def _example(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2)}\n```"


def _headers(headers: dict[str, str]) -> str:
    return "```text\n" + "\n".join(f"{name}: {value}" for name, value in headers.items()) + "\n```"


def _reasons() -> str:
    lines = [f"| `{reason}` | {meaning} |" for reason, meaning in reasons.REASONS.items()]
    return "\n".join(["| reason | what was wrong |", "|---|---|", *lines])


PARTS: dict[str, Callable[[], str]] = {
    "fields of a click": lambda: _fields(Click),
    "fields of a recommendation": lambda: _fields(Recommendation),
    "fields of an item": lambda: _fields(RecommendedItem),
    "fields of a reason": lambda: _fields(Reason),
    "a click": lambda: _example(examples.click()),
    "a click in binary mode": lambda: (
        _headers(examples.CLOUDEVENT_HEADERS) + "\n" + _example(examples.CLOUDEVENT["data"])
    ),
    "a click in structured mode": lambda: _example(examples.CLOUDEVENT),
    "a recommendation": lambda: _example(examples.recommendation()),
    "headers of a dead letter": lambda: _headers(examples.DEAD_LETTER_HEADERS),
    "reasons": _reasons,
}
