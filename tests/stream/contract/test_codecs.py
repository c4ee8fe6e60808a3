import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidEvent
from serving.events import Click
from stream.contract import reasons
from stream.contract.codecs import decode_record, is_misrouted

CLICK = {"event_id": "e1", "session_id": "s1", "item_id": "i1", "timestamp_ms": 1_700_000_000_123}
EXPECTED = Click("e1", "s1", "i1", 1_700_000_000_123)
BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"from-ce"), ("ce_source", b"/shop"), ("ce_type", b"click")]
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
TIME = "2023-11-14T22:13:20.123Z"  # 1_700_000_000_123 ms


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in CLICK.items() if name not in names}


def envelope(**attributes: Any) -> bytes:
    event = {"specversion": "1.0", "id": "from-ce", "source": "/shop", "type": "click", "data": CLICK} | attributes
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def reason_of(call: Callable[[], Click]) -> str:
    with pytest.raises(InvalidEvent) as caught:
        call()
    assert caught.value.reason in reasons.REASONS
    assert caught.value.message
    return caught.value.reason


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", b"application/json")],
        [("Content-Type", b"application/json; charset=utf-8")],
        [("content-type", b"application/vnd.shop.click+json")],
        [("content-type", None), ("trace", b"\xff\x00")],
    ],
)
def test_plain_json_is_a_click(headers: list[tuple[str, bytes | None]]) -> None:
    assert decode_record(b"s1", as_bytes(CLICK), headers) == EXPECTED


def test_binary_mode_takes_the_clicks_own_id_and_time_first() -> None:
    headers = [*BINARY, ("ce_time", b"2001-01-01T00:00:00Z")]
    assert decode_record(b"s1", as_bytes(CLICK), headers) == EXPECTED


def test_binary_mode_fills_id_and_time_that_the_click_lacks() -> None:
    headers = [*BINARY, ("ce_time", TIME.encode()), ("content-type", b"application/json")]
    click = decode_record(b"s1", as_bytes(without("event_id", "timestamp_ms")), headers)
    assert click == Click("from-ce", "s1", "i1", 1_700_000_000_123)


def test_structured_mode_fills_id_and_time_that_the_click_lacks() -> None:
    value = envelope(data=without("event_id", "timestamp_ms"), time="2023-11-14T23:13:20.123999+01:00")
    assert decode_record(b"s1", value, STRUCTURED) == Click("from-ce", "s1", "i1", 1_700_000_000_123)


def test_structured_mode_reads_base64_data() -> None:
    value = envelope(data=None, data_base64=base64.b64encode(as_bytes(CLICK)).decode())
    assert decode_record(b"s1", value, STRUCTURED) == EXPECTED


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, [], reasons.EMPTY),
        (b"", STRUCTURED, reasons.EMPTY),
        (None, BINARY, reasons.EMPTY),
        (b"{", [], reasons.NOT_JSON),
        (b"{", STRUCTURED, reasons.NOT_JSON),
        (b"\xff", BINARY, reasons.NOT_JSON),
        (b'{"context":' + b'{"a":' * 100_000, [], reasons.NOT_JSON),
        (b'{"context":' + b'{"a":' * 100_000, BINARY, reasons.NOT_JSON),
        (b'{"specversion":"1.0","id":"1","data":' + b"[" * 100_000, STRUCTURED, reasons.NOT_JSON),
        (b"[]", [], reasons.INVALID),
        (b"7", BINARY, reasons.INVALID),
        (as_bytes(without("item_id")), [], reasons.INVALID),
        (as_bytes(without("timestamp_ms")), BINARY, reasons.INVALID),
        (envelope(data=without("session_id")), STRUCTURED, reasons.INVALID),
        (envelope(data=None), STRUCTURED, reasons.EMPTY),
        (envelope(specversion="0.3"), STRUCTURED, reasons.INVALID_CLOUDEVENT),
        (envelope(id=None), STRUCTURED, reasons.INVALID_CLOUDEVENT),
        (envelope(data=None, data_base64="%"), STRUCTURED, reasons.INVALID_CLOUDEVENT),
        (envelope(data=without("timestamp_ms"), time="yesterday"), STRUCTURED, reasons.INVALID_CLOUDEVENT),
        (envelope(data=without("timestamp_ms"), time="2023-11-14T22:13:20"), STRUCTURED, reasons.INVALID_CLOUDEVENT),
        (envelope(datacontenttype="application/xml"), STRUCTURED, reasons.UNSUPPORTED_CONTENT_TYPE),
        (as_bytes(CLICK), [("ce_specversion", b"2.0")], reasons.INVALID_CLOUDEVENT),
        (as_bytes(CLICK), [("content-type", b"application/avro")], reasons.UNSUPPORTED_CONTENT_TYPE),
        (as_bytes(CLICK), [("content-type", b"application/json; charset=utf-16")], reasons.UNSUPPORTED_CONTENT_TYPE),
        (as_bytes(CLICK), [("content-type", b"application/cloudevents-batch+json")], reasons.UNSUPPORTED_CONTENT_TYPE),
        (as_bytes(CLICK), [*BINARY, ("content-type", b"\xff\xfe")], reasons.UNSUPPORTED_CONTENT_TYPE),
    ],
)
def test_what_cannot_be_a_click_has_a_reason(
    value: bytes | None, headers: list[tuple[str, bytes | None]], reason: str
) -> None:
    assert reason_of(lambda: decode_record(b"s1", value, headers)) == reason


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, reasons.MISSING_KEY),
        (b"", reasons.MISSING_KEY),
        (b"s2", reasons.WRONG_KEY),
        (b"\xff", reasons.WRONG_KEY),
        (b"s1 ", reasons.WRONG_KEY),
    ],
)
def test_a_key_that_is_not_the_session_id_is_refused_with_the_remedy(key: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidEvent, match="partitioner=murmur2_random") as caught:
        decode_record(key, as_bytes(CLICK))
    assert caught.value.reason == reason
    assert "'s1'" in caught.value.message


def test_a_key_in_the_partition_of_javas_client_is_not_misrouted() -> None:
    murmur2_of_21 = -973932308  # from Kafka's own UtilsTest
    partition = (murmur2_of_21 & 0x7FFFFFFF) % 100
    assert not is_misrouted(b"21", partition, 100)
    assert is_misrouted(b"21", partition + 1, 100)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
near_clicks = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.just(CLICK.get(name, "s1"))
        for name in [*CLICK, "user_id", "event_type", "position", "value", "consent", "context"]
    },
)
near_envelopes = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "0.3"]) | json_values},
    optional={
        "id": json_values,
        "time": st.just(TIME) | json_values,
        "datacontenttype": st.just("application/json") | json_values,
        "data": near_clicks | json_values,
        "data_base64": near_clicks.map(lambda click: base64.b64encode(as_bytes(click)).decode()) | json_values,
    },
)
values = (
    st.none()
    | st.binary(max_size=200)
    | (json_values | near_clicks | near_envelopes).map(as_bytes)
    | near_clicks.map(as_bytes).flatmap(lambda whole: st.integers(0, len(whole)).map(lambda cut: whole[:cut]))
)
content_types = st.sampled_from(
    [b"application/json", b"application/cloudevents+json", b"application/cloudevents+json; charset=utf-8", b"text/xml"]
)
headers = st.lists(
    st.tuples(st.sampled_from(["content-type", "Content-Type"]), content_types | st.none() | st.binary(max_size=20))
    | st.tuples(st.sampled_from(["ce_specversion", "ce_id", "ce_time"]), st.binary(max_size=20) | st.just(b"1.0"))
    | st.tuples(st.text(max_size=20), st.binary(max_size=20) | st.none()),
    max_size=5,
)


def decoded(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> Click | InvalidEvent:
    try:
        return decode_record(key, value, headers)
    except InvalidEvent as error:
        return error


@given(key=st.none() | st.just(b"s1") | st.binary(max_size=20), value=values, headers=headers)
def test_whatever_comes_in_is_a_click_or_an_invalid_event(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    result = decoded(key, value, headers)
    if isinstance(result, InvalidEvent):
        assert result.reason in reasons.REASONS
        assert len(result.message) < 2_000
    else:
        assert key == result.session_id.encode()
        assert result.event_id
        assert result.item_id
        assert result.timestamp_ms >= 0
