"""docs/asyncapi.json: the topics, their events, keys and headers as an AsyncAPI 3.0 document."""

from importlib.metadata import metadata
from typing import Any

import msgspec

from deploy.reference import examples
from deploy.reference.schemas import EVENTS, to_json
from stream.contract import dead_letter, reasons
from stream.contract.specs import TopicSpec, topic_specs
from stream.settings import KafkaSettings, Settings, TopicSettings

TEXT = {"type": "string"}
SESSION_KEY = {"kafka": {"key": TEXT | {"description": "The session id, UTF-8."}, "bindingVersion": "0.5.0"}}
MESSAGES_OF_CHANNEL = {
    "clicks": ["click", "clickAsCloudEvent"],
    "recommendations": ["recommendation"],
    "dead_letters": ["deadLetter"],
}


def asyncapi_document() -> str:
    """Return the document, in which nextclick is the application: it receives clicks and sends lists."""
    _, schemas = msgspec.json.schema_components(EVENTS.values(), ref_template="#/components/schemas/{name}")
    package = metadata("nextclick")
    return to_json(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "nextclick",
                "version": package["Version"],
                "description": package["Summary"],
                "license": {"name": package["License-Expression"]},
            },
            "defaultContentType": "application/json",
            "servers": {
                "local": {
                    "host": KafkaSettings().bootstrap_servers,
                    "protocol": "kafka",
                    "description": "The default of kafka.bootstrap_servers.",
                }
            },
            "channels": _channels(),
            "operations": {
                "receiveClicks": _operation("receive", "clicks"),
                "sendRecommendations": _operation("send", "recommendations"),
                "sendDeadLetters": _operation("send", "dead_letters"),
            },
            "components": {"messages": _messages(), "schemas": {**schemas, "CloudEvent": _cloudevent()}},
        }
    )


def _channels() -> dict[str, Any]:
    """Return the channels by the name of their setting; the worker's own changelog is nobody's business."""
    specs = {spec.setting.removeprefix("topics."): spec for spec in topic_specs(Settings())}
    return {name: _channel(name, spec) for name, spec in specs.items() if name in TopicSettings.model_fields}


def _channel(name: str, spec: TopicSpec) -> dict[str, Any]:
    description = f"{TopicSettings.model_fields[name].description} The name is the setting {spec.setting}."
    if name not in MESSAGES_OF_CHANNEL:
        description += " Reserved: this version's worker reads it, warns of what is in it, and goes by none of it."
    return {
        "address": spec.name,
        "description": description,
        "messages": {
            message: {"$ref": f"#/components/messages/{message}"} for message in MESSAGES_OF_CHANNEL.get(name, [])
        },
        "bindings": {
            "kafka": {
                "partitions": spec.partitions,
                "replicas": TopicSettings().replication_factor,
                "topicConfiguration": {"cleanup.policy": [spec.config["cleanup.policy"]]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _messages() -> dict[str, Any]:
    return {
        "click": {
            "title": "Click",
            "summary": "A click as plain JSON, or as a CloudEvent in binary mode: then with ce_* headers.",
            "contentType": "application/json",
            "headers": _headers({name: {} for name in examples.CLOUDEVENT_HEADERS}, required=[]),
            "payload": {"$ref": "#/components/schemas/Click"},
            "bindings": SESSION_KEY,
            "examples": [{"name": "plain", "payload": examples.click()}],
        },
        "clickAsCloudEvent": {
            "title": "Click as a CloudEvent",
            "summary": "A click as a CloudEvent in structured mode: the value is the whole event, `data` the click.",
            "contentType": "application/cloudevents+json",
            "headers": _headers({"content-type": {"const": "application/cloudevents+json"}}, required=["content-type"]),
            "payload": {"$ref": "#/components/schemas/CloudEvent"},
            "bindings": SESSION_KEY,
            "examples": [
                {
                    "name": "structured",
                    "headers": {"content-type": "application/cloudevents+json"},
                    "payload": examples.CLOUDEVENT,
                }
            ],
        },
        "recommendation": {
            "title": "Recommendation",
            "summary": "The list that answers one click. When it was made is the record's timestamp.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/Recommendation"},
            "bindings": SESSION_KEY,
            "examples": [{"name": "list", "payload": examples.recommendation()}],
        },
        "deadLetter": {
            "title": "Dead letter",
            "summary": "A record that could not be used: key, value and headers as received, and headers saying why.",
            "contentType": "application/octet-stream",
            "headers": _headers(
                {
                    dead_letter.REASON: {"enum": list(reasons.REASONS)},
                    dead_letter.ERROR: {"description": "What was found, what is expected, what the producer must do."},
                    dead_letter.TOPIC: {"description": "Where the record had been read."},
                    dead_letter.PARTITION: {"pattern": r"^\d+$"},
                    dead_letter.OFFSET: {"pattern": r"^\d+$"},
                    dead_letter.TRUNCATED_FROM: {
                        "pattern": r"^\d+$",
                        "description": "Only where the value did not fit: how many bytes it had.",
                    },
                },
                required=list(examples.DEAD_LETTER_HEADERS),
            ),
            "payload": {"description": "The bytes as they were received."},
            "bindings": {"kafka": {"key": {"description": "As received."}, "bindingVersion": "0.5.0"}},
            "examples": [{"name": "missing key", "headers": examples.DEAD_LETTER_HEADERS, "payload": examples.click()}],
        },
    }


def _headers(properties: dict[str, dict[str, Any]], required: list[str]) -> dict[str, Any]:
    described = {name: TEXT | more for name, more in properties.items()}
    return {"type": "object", "properties": described} | ({"required": required} if required else {})


def _cloudevent() -> dict[str, Any]:
    """Return the schema of structured mode, in which the envelope may stand in for two fields of the click."""
    fields = {"$ref": "#/components/schemas/Click/properties/session_id"}
    return {
        "title": "CloudEvent",
        "description": "CloudEvents 1.0. `id` and `time` stand in for the event_id and timestamp_ms of `data`.",
        "type": "object",
        "properties": {
            "specversion": TEXT | {"pattern": r"^1\.0(\.\d+)?$"},
            "id": TEXT,
            "source": TEXT,
            "type": TEXT,
            "time": TEXT | {"format": "date-time"},
            "datacontenttype": TEXT,
            "data": {
                "type": "object",
                "properties": {
                    "session_id": fields,
                    "item_id": {"$ref": "#/components/schemas/Click/properties/item_id"},
                },
                "required": ["session_id", "item_id"],
            },
            "data_base64": TEXT | {"description": "The click in base64, in place of `data`."},
        },
        "required": ["specversion", "id"],
        "anyOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }
