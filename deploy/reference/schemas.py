"""docs/schemas/: the JSON Schema of each event, from its class."""

import json
from typing import Any

import msgspec

from serving.events import Click, Recommendation

# Each event that is a JSON value, by the name of its schema.
EVENTS: dict[str, type[msgspec.Struct]] = {"click": Click, "recommendation": Recommendation}


def schema_documents() -> dict[str, str]:
    """Return the JSON Schema documents by the event's name."""
    return {name: to_json(schema(event)) for name, event in EVENTS.items()}


def schema(event: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of one event, complete in itself."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(event)


def to_json(document: Any) -> str:
    """Write a document as all of them are written, so that it can be compared."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
