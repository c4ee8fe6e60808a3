"""One example of each event, the same in docs/events.md and in the AsyncAPI document."""

from typing import Any

import msgspec

from serving.events import (
    Click,
    Reason,
    Recommendation,
    RecommendedItem,
    encode_click,
    encode_recommendation,
    recommendation_id,
)
from stream.contract import dead_letter, reasons

CLICK = Click(
    event_id="e-1002",
    session_id="s-17",
    item_id="teapot",
    timestamp_ms=1_777_897_800_250,
    event_type="view",
    user_id="u-4",
)

BUNDLE = "3f6c1d0a9b7e4825"

RECOMMENDATION = Recommendation(
    recommendation_id=recommendation_id(CLICK.session_id, CLICK.event_id, BUNDLE, "0"),
    session_id=CLICK.session_id,
    trigger_event_id=CLICK.event_id,
    bundle=BUNDLE,
    control_revision="0",
    event_timestamp_ms=CLICK.timestamp_ms,
    source="encoder",
    items=[
        RecommendedItem("tea-cosy", 9.25, Reason("session", ["teapot"])),
        RecommendedItem("milk-jug", 8.5, Reason("session", ["teapot", "cup"])),
    ],
)

# The two modes of the CloudEvents Kafka binding: the whole event as the value, or its attributes as headers.
CLOUDEVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1002",
    "source": "https://shop.example/web",
    "type": "com.example.click",
    "time": "2026-05-04T12:30:00.250Z",
    "datacontenttype": "application/json",
    "data": {"session_id": "s-17", "item_id": "teapot"},
}
CLOUDEVENT_HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "e-1002",
    "ce_source": "https://shop.example/web",
    "ce_type": "com.example.click",
    "ce_time": "2026-05-04T12:30:00.250Z",
    "content-type": "application/json",
}

DEAD_LETTER_HEADERS = {
    dead_letter.REASON: reasons.MISSING_KEY,
    dead_letter.ERROR: "the record has no key; send the click with its session_id ('s-17') as the Kafka key, in UTF-8",
    dead_letter.TOPIC: "clicks",
    dead_letter.PARTITION: "2",
    dead_letter.OFFSET: "40718",
}


def click() -> Any:
    """Return the click as the JSON object that a producer sends."""
    return msgspec.json.decode(encode_click(CLICK))


def recommendation() -> Any:
    """Return the list as the JSON object that a consumer gets."""
    return msgspec.json.decode(encode_recommendation(RECOMMENDATION))
