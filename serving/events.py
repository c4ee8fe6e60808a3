"""The events that pass through Kafka, as plain JSON, and the one place where they are decoded and written.

`docs/events.md` shows each of them; the JSON Schemas there are made from these classes.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from serving.errors import InvalidEvent

# Kafka carries keys of any length; an id of more than this is a producer's mistake (a URL, a whole document).
MAX_ID_LENGTH = 256
MAX_TYPE_LENGTH = 64
# With ids of the greatest length, a list of the greatest size that names so many stays under a megabyte.
MAX_SUPERSEDED = 100
# The last millisecond that a double, and so JavaScript, counts exactly: the year 287396.
MAX_TIMESTAMP_MS = 2**53 - 1

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
TimestampMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP_MS)]


class Click(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a visitor did. Fields that are not named here are ignored, not rejected."""

    event_id: Annotated[Id, msgspec.Meta(description="Unique for each event; the same id twice is a duplicate.")]
    session_id: Annotated[Id, msgspec.Meta(description="The visitor's session, or any id that stays with the visitor.")]
    item_id: Annotated[Id, msgspec.Meta(description="What was clicked.")]
    timestamp_ms: Annotated[TimestampMs, msgspec.Meta(description="Producer's clock, UTC epoch milliseconds.")]
    event_type: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=MAX_TYPE_LENGTH,
            description="`view`, `add_to_cart`, `purchase`, `like`, `dislike`, ...",
        ),
    ] = "view"
    user_id: Annotated[Id, msgspec.Meta(description="The visitor's account, if known.")] | None = None
    recommendation_id: Annotated[Id, msgspec.Meta(description="The list that the click came from.")] | None = None
    position: Annotated[int, msgspec.Meta(ge=0, description="Its place in that list, from 0.")] | None = None
    value: Annotated[float, msgspec.Meta(description="Price, rating, seconds watched, ...")] | None = None
    consent: (
        Annotated[
            bool, msgspec.Meta(description="`false`: a list is made from this event alone and nothing of it is stored.")
        ]
        | None
    ) = None
    context: Annotated[dict[str, Any], msgspec.Meta(description="Anything else worth keeping.")] | None = None


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why an item is in a list."""

    kind: Annotated[
        str,
        msgspec.Meta(
            description="`session`: near what this session looked at, or clicked together with it; "
            "`popular`: much clicked by all."
        ),
    ]
    item_ids: Annotated[list[str], msgspec.Meta(description="The session's items that speak for it, strongest first.")]


class RecommendedItem(msgspec.Struct, frozen=True, gc=False):
    """One place in a list."""

    item_id: str
    score: Annotated[
        float,
        msgspec.Meta(
            description="Comparable within its list only. Where the bundle finds too few items, popular ones fill the "
            "list and have the score of the last one found."
        ),
    ]
    reason: Reason


class Recommendation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The list that answers one event. When it was made is the Kafka record's timestamp."""

    recommendation_id: Annotated[
        str, msgspec.Meta(description="Hash of what the list depends on: equal ids, equal bytes.")
    ]
    session_id: str
    trigger_event_id: Annotated[str, msgspec.Meta(description="`event_id` of the click that it answers.")]
    bundle: Annotated[str, msgspec.Meta(description="Id of the bundle that made it.")]
    control_revision: Annotated[str, msgspec.Meta(description="What had been applied of the control topics.")]
    event_timestamp_ms: Annotated[int, msgspec.Meta(description="`timestamp_ms` of the click that it answers.")]
    source: Annotated[
        str,
        msgspec.Meta(
            description="`encoder`, `counters`, or `blend` of both, as the bundle has them; `popularity` where it "
            "finds nothing for the session; `shed`: what is popular, made without a look at the session under overload."
        ),
    ]
    items: list[RecommendedItem]
    supersedes: Annotated[
        list[str],
        msgspec.Meta(
            max_length=MAX_SUPERSEDED,
            description="`event_id`s of the session's clicks that this list answers too, oldest first: "
            "only with `overload.emit = latest` or above `overload.latest_above_lag`.",
        ),
    ] = []


class ListedRecommendation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A `Recommendation` whose items are JSON already; the two give the same bytes.

    Most items are in many lists, and most of their JSON is the same in each. So a list's items are put together from
    prepared text, and only what is particular to the answer is encoded.
    """

    recommendation_id: str
    session_id: str
    trigger_event_id: str
    bundle: str
    control_revision: str
    event_timestamp_ms: int
    source: str
    items: msgspec.Raw
    supersedes: list[str] = []


_click_decoder = msgspec.json.Decoder(Click)
_recommendation_decoder = msgspec.json.Decoder(Recommendation)
_encoder = msgspec.json.Encoder()


def decode_click(value: bytes | None) -> Click:
    """Read a click from plain JSON.

    Raises:
        InvalidEvent: `empty` for no value, `not_json`, or `invalid` with the field and what it should be.

    """
    if not value:
        raise InvalidEvent("empty", "the record has no value; a click is a JSON object with event_id, session_id, ...")
    try:
        click = _click_decoder.decode(value)
    except msgspec.ValidationError as error:
        raise InvalidEvent("invalid", f"not a click: {error}; see docs/events.md for its fields") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("not_json", f"the value is not JSON ({error}); send one JSON object a record") from error
    return click


def encode_click(click: Click) -> bytes:
    """Write a click as the JSON that `decode_click` reads, without the fields that are unset."""
    return _encoder.encode(click)


def decode_recommendation(value: bytes) -> Recommendation:
    """Read a list from the recommendations topic; `msgspec.DecodeError` where it is none."""
    return _recommendation_decoder.decode(value)


def encode_recommendation(recommendation: Recommendation | ListedRecommendation) -> bytes:
    """Write a list; equal lists give equal bytes."""
    return _encoder.encode(recommendation)


# Copied for each list: to make one costs as much as to hash with it.
_list_hasher = hashlib.blake2b(digest_size=16)


def recommendation_id(
    session_id: str,
    event_id: str,
    bundle: str,
    control_revision: str,
    shed: bool = False,
    supersedes: Sequence[str] = (),
) -> str:
    """Return the id, 32 hex digits, that the same list gets whenever and wherever it is made.

    A list that was made under overload is another list, and so has another id.
    """
    # Length-prefixed, so that no two different tuples ever hash the same bytes.
    session, event = session_id.encode(), event_id.encode()
    parts = [len(session).to_bytes(4), session, len(event).to_bytes(4), event, _suffix(bundle, control_revision)]
    if shed:
        parts.append(_prefixed("shed"))
    if supersedes:
        parts.append(_prefixed("supersedes", *supersedes))
    hasher = _list_hasher.copy()
    hasher.update(b"".join(parts))
    return hasher.hexdigest()


def _prefixed(*parts: str) -> bytes:
    """Return each part behind its length in bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4) + part for part in encoded])


@lru_cache(16)
def _suffix(bundle: str, control_revision: str) -> bytes:
    """Return the parts that are the same for very many lists."""
    return _prefixed(bundle, control_revision)
