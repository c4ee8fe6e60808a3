"""From a Kafka record to a click: plain JSON, or CloudEvents 1.0 in either mode of its Kafka binding.

Which of them is told by the headers:

- `content-type: application/cloudevents+json`: structured mode, the value is the whole CloudEvent and `data` in it
  (or `data_base64`) the click;
- else a header `ce_specversion`: binary mode, the value is the click and the attributes are `ce_*` headers;
- else: plain JSON, with or without `content-type: application/json`.

What the click itself does not say is taken from the CloudEvent: `id` becomes `event_id`, and `time` (RFC 3339, with its
offset from UTC) becomes `timestamp_ms`. Nothing else is mapped; where the click has its own value, that one counts.
CloudEvents call `id` unique within `source`; we tell events apart by `event_id` within a session.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from aiokafka.partitioner import murmur2

from serving.errors import InvalidEvent
from serving.events import Click, decode_click
from stream.contract import reasons

Headers = Iterable[tuple[str, bytes | None]]

# What is quoted from a record in an error: enough to find it, not enough to carry a document.
QUOTED = 64
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class _Envelope(NamedTuple):
    """The attributes of a CloudEvent that a click can take something from."""

    id: str | None
    time: str | None


class _Structured(msgspec.Struct):
    specversion: str
    id: str
    time: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_structured = msgspec.json.Decoder(_Structured)


def decode_record(key: bytes | None, value: bytes | None, headers: Headers = ()) -> Click:
    """Read a click and check that its key is its session id.

    Raises:
        InvalidEvent: with one of `stream.contract.reasons`; nothing else, whatever came in.

    """
    if headers:
        click = _decode_value(value, {name.lower(): text for name, text in headers if text is not None})
    else:
        click = decode_click(value)
    if key != click.session_id.encode():
        raise _not_the_key(key, click.session_id)
    return click


def is_misrouted(key: bytes, partition: int, partitions: int) -> bool:
    """Whether a producer put this key into another partition than Java's and Python's clients would.

    Only the partition that it is in sees the session, so lists stay right as long as every producer of the session
    agrees; the count of such keys says that they do not all use murmur2.
    """
    return bool((murmur2(key) & 0x7FFFFFFF) % partitions != partition)


def _decode_value(value: bytes | None, headers: Mapping[str, bytes]) -> Click:
    content_type = _media_type(_text(headers, "content-type"))
    if content_type.startswith("application/cloudevents"):
        if content_type != "application/cloudevents+json":
            raise _unsupported(content_type)
        return _decode_structured(value)
    if not _is_json(content_type):
        raise _unsupported(content_type)
    if "ce_specversion" not in headers:
        return decode_click(value)
    _check_version(_text(headers, "ce_specversion"))
    return _decode_data(value, _Envelope(_text(headers, "ce_id"), _text(headers, "ce_time")))


def _decode_structured(value: bytes | None) -> Click:
    try:
        event = _structured.decode(value or b"")
    except msgspec.ValidationError as error:
        raise InvalidEvent(reasons.INVALID_CLOUDEVENT, f"not a CloudEvent in JSON: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not value:
            raise InvalidEvent(reasons.EMPTY, "the record has no value; it should be a CloudEvent in JSON") from error
        raise InvalidEvent(reasons.NOT_JSON, f"the value is not JSON ({error}); send the CloudEvent as JSON") from error
    _check_version(event.specversion)
    content_type = _media_type(event.datacontenttype)
    if not _is_json(content_type):
        raise _unsupported(content_type)
    data: bytes = bytes(event.data)
    if event.data_base64 is not None:
        try:
            data = base64.b64decode(event.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            message = f"the CloudEvent's data_base64 is not base64 ({error}); better send the click as `data`"
            raise InvalidEvent(reasons.INVALID_CLOUDEVENT, message) from error
    return _decode_data(data, _Envelope(event.id, event.time))


def _decode_data(data: bytes | None, envelope: _Envelope) -> Click:
    """Read the click inside a CloudEvent and give it the id and time that it lacks."""
    try:
        fields = msgspec.json.decode(data or b"")
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return decode_click(data)  # it can only fail, with the same words as for plain JSON
    if fields.get("event_id") is None and envelope.id:
        fields["event_id"] = envelope.id
    if fields.get("timestamp_ms") is None and envelope.time:
        fields["timestamp_ms"] = _epoch_ms(envelope.time)
    try:
        return msgspec.convert(fields, Click)
    except (msgspec.ValidationError, RecursionError) as error:
        message = f"the CloudEvent's data is not a click: {error}; see docs/events.md for its fields"
        raise InvalidEvent(reasons.INVALID, message) from error


def _epoch_ms(time: str) -> int:
    try:
        moment = msgspec.convert(time, datetime)
        if moment.tzinfo is None:
            raise ValueError("it has no offset from UTC")
        return (moment - EPOCH) // MILLISECOND
    except (ValueError, OverflowError) as error:
        message = f"the CloudEvent's time {_quote(time)} is not RFC 3339, such as 2026-05-04T12:30:00.250Z ({error})"
        raise InvalidEvent(reasons.INVALID_CLOUDEVENT, message) from error


def _check_version(version: str | None) -> None:
    if version is None or re.fullmatch(r"1\.0(\.\d+)?", version) is None:
        message = f"CloudEvents version {_quote(version)} is not known; send specversion 1.0"
        raise InvalidEvent(reasons.INVALID_CLOUDEVENT, message)


def _not_the_key(key: bytes | None, session_id: str) -> InvalidEvent:
    remedy = (
        f"send the click with its session_id ({_quote(session_id)}) as the Kafka key, in UTF-8; "
        "librdkafka's clients also need partitioner=murmur2_random"
    )
    if not key:
        return InvalidEvent(reasons.MISSING_KEY, f"the record has no key; {remedy}")
    found = _quote(key.decode(errors="backslashreplace"))
    return InvalidEvent(reasons.WRONG_KEY, f"the record's key is {found}, not the session id; {remedy}")


def _media_type(content_type: str | None) -> str:
    """Return the type in lower case without its parameters, with a foreign charset kept, `` for none."""
    media_type, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    for parameter in parameters:
        name, _, charset = parameter.partition("=")
        if name.strip() == "charset" and charset.strip(' "') not in {"utf-8", "utf8", "us-ascii"}:
            return f"{media_type}; {parameter}"
    return media_type


def _is_json(media_type: str) -> bool:
    return media_type in {"", "application/json", "text/json"} or re.fullmatch(r"[^;\s]+\+json", media_type) is not None


def _unsupported(media_type: str) -> InvalidEvent:
    message = f"content type {_quote(media_type)} is not known; send JSON in UTF-8, or no content-type header"
    return InvalidEvent(reasons.UNSUPPORTED_CONTENT_TYPE, message)


def _text(headers: Mapping[str, bytes], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode(errors="backslashreplace")


def _quote(text: Any) -> str:
    quoted = repr(text)
    return quoted if len(quoted) <= QUOTED else f"{quoted[:QUOTED]}..."
