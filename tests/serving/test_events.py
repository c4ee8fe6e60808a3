import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidEvent
from serving.events import (
    Click,
    ListedRecommendation,
    Reason,
    Recommendation,
    RecommendedItem,
    decode_click,
    decode_recommendation,
    encode_click,
    encode_recommendation,
    recommendation_id,
)

WHOLE = {"event_id": "e", "session_id": "s", "item_id": "i", "timestamp_ms": 1_700_000_000_000}
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)


@given(
    st.builds(
        Click,
        ids,
        ids,
        ids,
        st.integers(0, 2**53 - 1),
        value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_a_click_reads_back_as_it_was_written(click: Click) -> None:
    assert decode_click(encode_click(click)) == click


def test_fields_that_are_not_ours_are_ignored_and_the_optional_ones_have_defaults() -> None:
    click = decode_click(json.dumps(WHOLE | {"page": "/shoes", "nested": {"a": [1]}}).encode())
    assert (click.event_type, click.consent, click.context) == ("view", None, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"item_id": ""}, "item_id"),
        ({"item_id": 7}, "item_id"),
        ({"session_id": "x" * 257}, "session_id"),
        ({"timestamp_ms": -1}, "timestamp_ms"),
        ({"timestamp_ms": 2**53}, "timestamp_ms"),
        ({"timestamp_ms": "now"}, "timestamp_ms"),
        ({"position": -1}, "position"),
        ({"consent": "no"}, "consent"),
        ({"context": [1]}, "context"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidEvent, match=field) as caught:
        decode_click(json.dumps(WHOLE | change).encode())
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("field", WHOLE)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidEvent, match=field):
        decode_click(json.dumps({name: value for name, value in WHOLE.items() if name != field}).encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b"[" * 100_000, "invalid"),
        (b'{"a":' * 100_000, "not_json"),
        (b"null", "invalid"),
        (json.dumps(WHOLE).encode() + b"x", "not_json"),
    ],
)
def test_what_is_no_click_says_why(value: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode_click(value)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_click_or_an_invalid_event(value: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode_click(value)


def test_a_list_reads_back_as_it_was_written() -> None:
    item = RecommendedItem("i2", 0.125, Reason("session", ["i1"]))
    shown = Recommendation("r", "s", "e", "b", "0", 5, "encoder", [item])
    assert decode_recommendation(encode_recommendation(shown)) == shown


def test_a_list_that_supersedes_nothing_does_not_speak_of_it() -> None:
    shown = Recommendation("r", "s", "e", "b", "0", 5, "encoder", [])
    assert b"supersedes" not in encode_recommendation(shown)
    assert b'"supersedes":["d"]' in encode_recommendation(msgspec.structs.replace(shown, supersedes=["d"]))


@given(st.builds(Recommendation))
def test_items_that_are_json_already_make_no_other_bytes(shown: Recommendation) -> None:
    fields = msgspec.structs.asdict(shown) | {"items": msgspec.Raw(msgspec.json.encode(shown.items))}
    assert encode_recommendation(ListedRecommendation(**fields)) == encode_recommendation(shown)
    assert list(fields) == list(ListedRecommendation.__struct_fields__)


def test_ids_of_lists_stay_what_they_are_from_version_to_version() -> None:
    assert recommendation_id("s-17", "e-1002", "3f6c1d0a9b7e4825", "0") == "57a2d6a227369f329578903fe0639d28"


@given(
    st.tuples(ids, ids, st.booleans(), st.lists(st.sampled_from(["shed", "supersedes", "a"]), max_size=3)),
    st.tuples(ids, ids, st.booleans(), st.lists(st.sampled_from(["shed", "supersedes", "a"]), max_size=3)),
)
def test_a_list_made_under_overload_has_another_id(
    one: tuple[str, str, bool, list[str]], other: tuple[str, str, bool, list[str]]
) -> None:
    def identity(session: str, event: str, shed: bool, supersedes: list[str]) -> str:
        return recommendation_id(session, event, "b", "0", shed=shed, supersedes=supersedes)

    assert (identity(*one) == identity(*other)) is (one == other)


@given(st.tuples(ids, ids, ids, ids), st.tuples(ids, ids, ids, ids))
def test_recommendation_ids_differ_where_any_part_does(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (recommendation_id(*one) == recommendation_id(*other)) is (one == other)


def test_parts_of_an_id_are_not_confused_where_they_meet() -> None:
    assert recommendation_id("a", "bc", "d", "0") != recommendation_id("ab", "c", "d", "0")
