"""What is sent: valid clicks, and records that are wrong in every way that came to mind.

Each kind of wrong record says which reasons its dead letter may give; which kind a record is stands in its header
`fuzz`. A `mutated` click may still be one: then it gets a list, else a dead letter, and never both or nothing.
"""

import base64
import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from serving.events import Click, encode_click
from stream.contract import reasons

KIND_HEADER = "fuzz"
MUTATED = "mutated"
MUTATED_SESSION = b"z"
VALID = 0.5
REPEATED = 0.03
SESSIONS = 20_000
ITEMS = 55  # of which the tiny bundle knows 50
REPEATED_AMONG = 200
# Kafka takes a record of 1,048,588 bytes with everything that belongs to it.
LARGEST_VALUE = 1_047_000
# As much again in a third more bytes, where the click stands in a CloudEvent in base64.
LARGEST_CONTEXT = 700_000
BIG = 0.0004

ODD = (
    "",
    '"\\',
    "\x00",
    "\u202e\u2066",
    "é" * 100,
    "🐎\U0010ffff",
    "\n\r\t\x7f",
    "\\n",
    "' OR 1=1 --",
    "../../etc",
    "%s{}",
)

Headers = list[tuple[str, bytes | None]]
Spoil = Callable[[random.Random, dict[str, Any], "Outgoing"], "Outgoing"]
"""Turns a valid click, given as its fields and as a record, into a record that is none."""


class Outgoing(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Kind(NamedTuple):
    """A way to be wrong, and the reasons that its dead letter may give."""

    spoil: Spoil
    reasons: frozenset[str]


def records(seed: int, now_ms: Callable[[], int]) -> Iterator[Outgoing]:
    """Give records without end.

    Args:
        seed: of everything that is drawn.
        now_ms: returns the time. Milliseconds since 1970.

    """
    rng, numbers = random.Random(seed), itertools.count()
    recent: deque[Outgoing] = deque(maxlen=REPEATED_AMONG)
    names = list(KINDS)
    while True:
        number, roll = next(numbers), rng.random()
        if roll < REPEATED and recent:
            yield rng.choice(recent)
        elif roll < VALID:
            click = _click(rng, number, session_id(rng.randrange(SESSIONS)), now_ms())
            record = _dressed(rng, click)
            if click.consent is not False:  # nothing is kept of such a click, so that a second one is answered again
                recent.append(record)
            yield record
        elif roll < VALID + 0.04:
            yield _plain(_odd_click(rng, number, now_ms()))
        else:
            name = MUTATED if rng.random() < 0.15 else rng.choice(names)
            yield _wrong(rng, name, number, now_ms())


def session_id(number: int) -> str:
    """Return the id of a session: letters, signs, control characters, and everything that JSON has to escape."""
    odd = (
        "",
        '"\\',
        "\x00",
        "\u202e\u2066",
        "é" * 100,
        "🐎\U0010ffff",
        "\n\r\t\x7f",
        "' OR 1=1 --",
        "../../etc",
        "%s{}",
    )
    return f"s{number}{odd[number % len(odd)]}"


def _click(rng: random.Random, number: int, session: str, timestamp_ms: int) -> Click:
    return Click(
        event_id=f"e{number}",
        session_id=session,
        item_id=f"i{rng.randint(1, ITEMS)}" + (rng.choice(ODD) if rng.random() < 0.05 else ""),
        timestamp_ms=timestamp_ms,
        event_type=rng.choice(("view", "purchase", "x" * 64, "\u0000")),
        user_id=rng.choice((None, "u1", "\uffff" * 256)),
        position=rng.choice((None, 0, 2**62)),
        value=rng.choice((None, 0.0, -1e308, 5e-324)),
        consent=rng.choice((None, None, None, True, False)),
        context=rng.choice((None, {}, {"a": [{}]})),
    )


def _odd_click(rng: random.Random, number: int, now_ms: int) -> Click:
    """Return a valid click whose time cannot be; the only one of its session."""
    wrong_ms = rng.choice((0, 1, now_ms - 10**9, now_ms + 10**9, 2**53 - 1, 2**53 - 1 - rng.randrange(10**12)))
    return _click(rng, number, f"t{number}", wrong_ms)


def _plain(click: Click) -> Outgoing:
    return Outgoing(click.session_id.encode(), encode_click(click), [])


def _dressed(rng: random.Random, click: Click) -> Outgoing:
    """Return a valid click in one of its forms, with things beside it that mean nothing."""
    if rng.random() < BIG:
        click = msgspec.structs.replace(click, context={"page": "x" * rng.randrange(LARGEST_CONTEXT)})
    key, value = click.session_id.encode(), encode_click(click)
    fields = json.loads(value)
    match rng.randrange(8):
        case 0:
            return Outgoing(
                key, value, [("x", rng.randbytes(20)), ("x", None), ("", b""), ("content-type", b"text/json")]
            )
        case 1:
            return Outgoing(key, json.dumps(fields | {"unknown": {"deep": [[[[]]]], "n": 10**400}}).encode(), [])
        case 2:
            return Outgoing(key, b" \n\t" + json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\r\n", [])
        case 3:
            fields.pop("event_id")
            headers = {"ce_specversion": "1.0", "CE_ID": click.event_id, "ce_source": "/", "ce_time": "rubbish"}
            return Outgoing(key, json.dumps(fields).encode(), [(name, text.encode()) for name, text in headers.items()])
        case 4:
            envelope = {"specversion": "1.0", "id": click.event_id, "data_base64": base64.b64encode(value).decode()}
            return Outgoing(key, json.dumps(envelope).encode(), [("content-type", b"application/cloudevents+json")])
        case _:
            return Outgoing(key, value, [])


def _wrong(rng: random.Random, name: str, number: int, now_ms: int) -> Outgoing:
    session = f"{MUTATED_SESSION.decode()}{number}" if name == MUTATED else session_id(rng.randrange(SESSIONS))
    good = _plain(_click(rng, number, session, now_ms))
    record = _mutated(rng, good) if name == MUTATED else KINDS[name].spoil(rng, json.loads(good.value or b""), good)
    return record._replace(headers=[*record.headers, (KIND_HEADER, name.encode())])


def _mutated(rng: random.Random, good: Outgoing) -> Outgoing:
    value = bytearray(good.value or b"")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(value) + 1)
        match rng.randrange(4):
            case 0:
                value[at : at + 1] = rng.randbytes(1)
            case 1:
                value[at:at] = rng.choice((b'"', b"{", b"]", b",", b"\\", b"\x00", b"\xff", b"null", b"1e9", b'{"a":'))
            case 2:
                del value[at : at + rng.randint(1, 8)]
            case _:
                value[at:at] = value[rng.randrange(len(value) + 1) :][: rng.randint(1, 30)]
    return good._replace(value=bytes(value))


def _with(**fields: Callable[[random.Random], Any]) -> Spoil:
    """Give one of the fields a value that it cannot have."""

    def spoil(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
        name, value = rng.choice(list(fields.items()))
        return good._replace(value=json.dumps(click | {name: value(rng)}).encode())

    return spoil


def _literal(*values: str) -> Spoil:
    """Put something that is no JSON number where a number belongs."""

    def spoil(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
        click.pop("value", None)
        text = json.dumps(click)[:-1]
        return good._replace(value=f'{text}, "{rng.choice(("value", "unknown"))}": {rng.choice(values)}}}'.encode())

    return spoil


def _in_ids(*raw: bytes) -> Spoil:
    """Put bytes into the event's id that no JSON text has."""

    def spoil(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
        text = json.dumps(click | {"event_id": "PLACE"}).encode()
        return good._replace(value=text.replace(b"PLACE", b"e" + rng.choice(raw) + b"e"))

    return spoil


def _value(
    make: Callable[[random.Random], bytes | None],
) -> Spoil:
    return lambda rng, _, good: good._replace(value=make(rng))


def _key(
    make: Callable[[random.Random], bytes | None],
) -> Spoil:
    return lambda rng, _, good: good._replace(key=make(rng))


def _header(name: str, *values: bytes) -> Spoil:
    return lambda rng, _, good: good._replace(headers=[(name, rng.choice(values))])


def _truncated(rng: random.Random, _: dict[str, Any], good: Outgoing) -> Outgoing:
    value = good.value or b""
    return good._replace(value=value[: rng.randrange(1, len(value))])


def _missing(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
    del click[rng.choice(("event_id", "session_id", "item_id", "timestamp_ms"))]
    return good._replace(value=json.dumps(click).encode())


def _nested(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
    depth, text = 100_000, json.dumps(click)[:-1]
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
    deep = opened * depth + "1" + closed * depth
    whole = rng.choice((deep, f'{text}, "context": {{"a": {deep}}}}}', f'{text}, "unknown": {deep}}}', opened * depth))
    return good._replace(value=whole.encode())


def _large(rng: random.Random, click: dict[str, Any], good: Outgoing) -> Outgoing:
    """Return a record that is about as large as Kafka takes: by its value, its key or its headers."""
    if rng.random() > 0.02:
        return good._replace(value=b"x" * rng.randrange(1_000, 20_000))
    size = rng.choice((900_000, 999_000, 1_000_000, LARGEST_VALUE)) - rng.randrange(2_000)
    match rng.randrange(3):
        case 0:
            return good._replace(value=b"[" + b'"\xc3\xa9",' * (size // 5))
        case 1:
            return good._replace(key=b"k" * (size // 2), value=b'{"' + b"y" * (size // 3))
        case _:
            return good._replace(value=b"not JSON", headers=[(f"h{n}", b"v" * 5_000) for n in range(size // 5_100)])


JSON_ERRORS = frozenset({reasons.NOT_JSON})
INVALID = frozenset({reasons.INVALID})
EITHER = JSON_ERRORS | INVALID
CLOUDEVENT = b"application/cloudevents+json"

WRONG_TYPES = _with(
    event_id=lambda rng: rng.choice((None, 1, 1.5, True, [], {})),
    session_id=lambda rng: rng.choice((None, 1, [], {"a": "b"})),
    item_id=lambda rng: rng.choice((None, 7, False, ["i1"])),
    timestamp_ms=lambda rng: rng.choice((None, "1", True, 1.5, 1.0, [1], {})),
    event_type=lambda rng: rng.choice((None, 1, [])),
    position=lambda rng: rng.choice(("0", 0.5, True)),
    value=lambda rng: rng.choice(("1", True, [])),
    consent=lambda rng: rng.choice(("yes", 0, 1, [])),
    context=lambda rng: rng.choice(("x", 1, [])),
)
OUT_OF_RANGE = _with(
    event_id=lambda rng: rng.choice(("", "e" * 257)),
    item_id=lambda rng: rng.choice(("", "🐎" * 257)),
    session_id=lambda rng: "",
    timestamp_ms=lambda rng: rng.choice((-1, -(2**63), 2**53, 2**63, 2**64, 10**30)),
    event_type=lambda rng: rng.choice(("", "x" * 65)),
    position=lambda rng: -1,
)
NO_OBJECTS = (b"[]", b"1", b'"click"', b"null", b"true", b"[{}]", b"-0.0", b"{}")
NO_JSON = (b" ", b"hello", b"{", b"'a'", b"{a:1}", b"<click/>", b"\xef\xbb\xbf{}")
NO_TEXT = (
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00", b"\x1f", b"\n"),
    *(b"\\ud800", b"\\udfff\\ud800", b"\\q", b"\\u12"),
)
NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "0x10", "1_000")
# The last ones are keys under which the changelog keeps things of its own.
NO_SESSIONS = (b"somebody", b"\xed\xa0\x80", b"k" * 5_000, b"\xffclicks", b"\xffattempt")
CONTENT_TYPES = (
    *(b"application/avro", b"text/plain", b"application/json; charset=utf-16", b"\xff\xfe", b"x" * 9_000),
    b"application/cloudevents-batch+json",
)
VERSIONS = (b"0.3", b"\xff\x00", b"", b"1.0" * 1_000)
# What a CloudEvent in structured mode may have in place of a click.
NO_DATA: tuple[dict[str, Any], ...] = ({}, {"data": None}, {"data": [{}]}, {"data": "click"}, {"data_base64": "bm8="})
PUT_BACK: Headers = [
    ("nextclick-reason", b"wrong_key"),
    ("nextclick-offset", b"-1"),
    ("nextclick-applied-offset", b"x"),
]


def _structured(rng: random.Random, _: dict[str, Any], good: Outgoing) -> Outgoing:
    envelope = {"specversion": "1.0", "id": "x", **rng.choice(NO_DATA)}
    return good._replace(value=json.dumps(envelope).encode(), headers=[("content-type", CLOUDEVENT)])


KINDS = {
    "truncated": Kind(_truncated, JSON_ERRORS),
    "missing": Kind(_missing, INVALID),
    "wrong-type": Kind(WRONG_TYPES, INVALID),
    "out-of-range": Kind(OUT_OF_RANGE, INVALID),
    "not-an-object": Kind(_value(lambda rng: rng.choice(NO_OBJECTS)), INVALID),
    "not-json": Kind(_value(lambda rng: rng.choice(NO_JSON)), JSON_ERRORS),
    "binary": Kind(_value(lambda rng: rng.randbytes(rng.randrange(1, 600))), EITHER),
    "utf-16": Kind(lambda _, click, good: good._replace(value=json.dumps(click).encode("utf-16")), JSON_ERRORS),
    "trailing": Kind(
        lambda rng, _, good: good._replace(value=(good.value or b"") + rng.choice((b"x", b"{}", b"\x00", b","))),
        JSON_ERRORS,
    ),
    "nested": Kind(_nested, EITHER),
    "bad-text": Kind(_in_ids(*NO_TEXT), JSON_ERRORS),
    "not-a-number": Kind(_literal(*NO_NUMBERS), JSON_ERRORS),
    "empty": Kind(_value(lambda rng: rng.choice((None, b""))), frozenset({reasons.EMPTY})),
    "no-key": Kind(_key(lambda rng: rng.choice((None, b""))), frozenset({reasons.MISSING_KEY})),
    "wrong-key": Kind(_key(lambda rng: rng.choice(NO_SESSIONS)), frozenset({reasons.WRONG_KEY})),
    "content-type": Kind(
        _header("Content-Type", *CONTENT_TYPES),
        frozenset({reasons.UNSUPPORTED_CONTENT_TYPE}),
    ),
    "version": Kind(_header("ce_specversion", *VERSIONS), frozenset({reasons.INVALID_CLOUDEVENT})),
    # The click itself has no specversion.
    "cloudevent": Kind(_header("content-type", CLOUDEVENT), frozenset({reasons.INVALID_CLOUDEVENT})),
    "structured": Kind(_structured, EITHER | {reasons.EMPTY}),
    "large": Kind(_large, EITHER),
    "put-back": Kind(lambda _, __, good: Outgoing(good.key, b"an old dead letter", PUT_BACK), JSON_ERRORS),
}
