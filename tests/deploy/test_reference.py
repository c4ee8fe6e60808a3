"""The pages and schemas in docs/ say what the code does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.reference import documents, examples
from deploy.reference.events import PARTS
from deploy.reference.schemas import EVENTS, schema
from serving.errors import InvalidEvent
from serving.events import Click, decode_click, decode_recommendation, encode_recommendation
from stream.contract.codecs import decode_record
from stream.contract.dead_letter import read_cause
from stream.settings import TopicSettings, known_settings

ROOT = Path(__file__).parents[2]
KEY = examples.CLICK.session_id.encode()


def as_headers(headers: dict[str, str]) -> list[tuple[str, bytes | None]]:
    return [(name, value.encode()) for name, value in headers.items()]


@pytest.fixture(scope="module")
def asyncapi() -> Any:
    return json.loads((ROOT / "docs" / "asyncapi.json").read_text())


@pytest.mark.parametrize("path", documents(ROOT))
def test_a_generated_file_is_what_the_code_says_now(path: str) -> None:
    assert (ROOT / path).read_text() == documents(ROOT)[path], f"{path} is old; run `make docs`"


def test_there_is_no_schema_of_something_that_is_gone() -> None:
    found = {f"docs/schemas/{path.name}" for path in (ROOT / "docs" / "schemas").iterdir()}
    assert found <= documents(ROOT).keys()


def test_every_setting_is_in_the_configuration_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert all(f"| `{key}`<br>`{setting.variable}` |" in page for key, setting in known_settings().items())


def test_the_events_page_shows_every_part_that_is_made_for_it() -> None:
    marks = re.findall(r"<!-- made: (.+?) -->", (ROOT / "docs" / "events.md").read_text())
    assert sorted(marks) == sorted(PARTS)


def test_every_default_topic_is_on_the_events_page() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    assert all(f"`{name}`" in page for name in TopicSettings().model_dump().values() if isinstance(name, str))


def test_the_example_of_a_click_is_one() -> None:
    jsonschema.validate(examples.click(), schema(Click))
    assert decode_record(KEY, json.dumps(examples.click()).encode()) == examples.CLICK


def test_the_examples_of_cloudevents_are_the_same_click_in_both_modes() -> None:
    structured = decode_record(
        KEY, json.dumps(examples.CLOUDEVENT).encode(), [("content-type", b"application/cloudevents+json")]
    )
    data = json.dumps(examples.CLOUDEVENT["data"]).encode()
    assert decode_record(KEY, data, as_headers(examples.CLOUDEVENT_HEADERS)) == structured
    assert structured.event_id == examples.CLICK.event_id
    assert structured.timestamp_ms == examples.CLICK.timestamp_ms


def test_the_example_of_a_recommendation_is_one() -> None:
    jsonschema.validate(examples.recommendation(), schema(EVENTS["recommendation"]))
    assert decode_recommendation(encode_recommendation(examples.RECOMMENDATION)) == examples.RECOMMENDATION


def test_the_example_of_a_dead_letter_is_what_a_missing_key_gives() -> None:
    cause = read_cause(as_headers(examples.DEAD_LETTER_HEADERS))
    assert cause is not None
    with pytest.raises(InvalidEvent) as caught:
        decode_record(None, json.dumps(examples.click()).encode())
    assert caught.value.reason == cause.reason
    assert caught.value.message.startswith(cause.error)


# Values of every JSON type, some of which each field takes. Whole floats are left out: JSON Schema calls them integers.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**53 + 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: not value.is_integer()),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), max_size=2),
    st.lists(st.integers(), max_size=2),
)


@given(name=st.sampled_from([*Click.__struct_fields__, "unknown"]), value=VALUES)
def test_the_schema_of_a_click_accepts_exactly_what_is_decoded(name: str, value: Any) -> None:
    event = examples.click() | {name: value}
    accepted = jsonschema.Draft202012Validator(schema(Click)).is_valid(event)
    if accepted:
        decode_click(json.dumps(event).encode())
    else:
        with pytest.raises(InvalidEvent):
            decode_click(json.dumps(event).encode())


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolved(document: Any, reference: str) -> Any:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_every_reference_in_the_asyncapi_document_leads_somewhere(asyncapi: Any) -> None:
    # Against AsyncAPI's own JSON Schema of 3.0.0 the document was valid, checked by hand 2026-11.
    assert asyncapi["asyncapi"] == "3.0.0"
    assert all(resolved(asyncapi, reference) for reference in references(asyncapi))


def test_the_asyncapi_document_has_a_channel_for_every_topic(asyncapi: Any) -> None:
    addresses = {name: channel["address"] for name, channel in asyncapi["channels"].items()}
    assert addresses == {name: value for name, value in TopicSettings() if isinstance(value, str)}
    for operation in asyncapi["operations"].values():
        assert resolved(asyncapi, operation["channel"]["$ref"])["messages"]


def test_the_messages_in_the_asyncapi_document_fit_their_schemas(asyncapi: Any) -> None:
    for message in asyncapi["components"]["messages"].values():
        for part in ("payload", "headers"):
            if part in message:
                described = {"allOf": [message[part]], "components": asyncapi["components"]}
                for example in message["examples"]:
                    jsonschema.Draft7Validator(described).validate(example.get(part, {}))


def test_the_json_on_the_events_page_is_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "events.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    assert all(json.loads(block) for block in blocks)
